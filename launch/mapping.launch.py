"""Starts the mapping node in namespace `geopurify`; a bag and RViz if asked."""

from pathlib import Path

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from geopurify_ros.cameras import CAMERAS, camera, remappings, with_topics

TRANSPORTS = ("raw", "compressed")
INPUTS = {
    "rgb": "topic of the colour images",
    "depth": "topic of the depth images",
    "camera_info": "topic of the calibration of colour (and of registered depth)",
    "depth_camera_info": "topic of the calibration of depth that is not registered",
    "pose": "topic of PoseStamped, for pose.source: pose",
    "odom": "topic of Odometry, for pose.source: odom",
}

# arguments that, when given, stand above the parameter file
OVERRIDES = {
    "use_sim_time": "use_sim_time",
    "autostart": "lifecycle.autostart",
    "rgb_transport": "camera.rgb_transport",
    "depth_transport": "camera.depth_transport",
}


def start(context):
    """Node, player and RViz for the arguments of this launch."""
    value = {n: LaunchConfiguration(n).perform(context) for n in (
        "namespace", "params_file", "camera", "bag", "log_level", "rviz", *OVERRIDES, *INPUTS)}
    _check_files(value)
    preset = camera(value["camera"])
    topics = with_topics(preset.topics, [f"{n}={value[n]}" for n in INPUTS if value[n]])
    own = {**preset.parameters, **(_transports(value, topics) if value["bag"] else {})}
    for argument, name in OVERRIDES.items():
        if value[argument]:
            own[name] = {"true": True, "false": False}.get(value[argument], value[argument])
    mapping = Node(
        package="geopurify_ros", executable="mapping", name="mapping",
        namespace=value["namespace"], output="screen",
        parameters=[value["params_file"], *([own] if own else [])],
        remappings=[] if value["bag"] else remappings(topics),
        arguments=["--ros-args", "--log-level", value["log_level"]],
    )
    actions = [mapping]
    if value["rviz"] == "true":
        actions += _rviz(value)
    if value["bag"]:
        actions += _player(value)
    return actions


def _check_files(value):
    """Say at once what would be noticed late or never: launch goes on without a missing file."""
    for argument, what in (("params_file", "parameter file"), ("bag", "recording")):
        path = value[argument]
        if path and not Path(path).exists():
            raise RuntimeError(f"{argument}:={path}: there is no such {what}")


def _transports(value, topics):
    """How the images of a rosbag2 come: the player sends them as they were recorded."""
    from geopurify_ros.config import Config, with_values  # these need torch, which takes seconds
    from geopurify_ros.data.readers.bag import Bag
    from geopurify_ros.data.readers.bag_files import is_bag

    path = Path(value["bag"])
    if not is_bag(path):
        return {}
    config = with_values(Config(), camera(value["camera"]).parameters)
    with Bag(path, topics, config) as bag:
        kinds = bag.config.camera
        return {"camera.rgb_transport": kinds.rgb_transport,
                "camera.depth_transport": kinds.depth_transport}


def _player(value):
    """The player of a recording; when it fails, everything ends."""
    options = [f"--topic={n}={value[n]}" for n in INPUTS if value[n]]
    player = ExecuteProcess(
        cmd=["ros2", "run", "geopurify_ros", "geopurify", "play", value["bag"], "--clock",
             "--camera", value["camera"], "--namespace", value["namespace"], "--wait", "120",
             *options],
        output="screen",
    )

    def ended(event, context):
        if context.is_shutdown:
            return []
        if event.returncode == 0:
            return [LogInfo(msg="the recording is at its end; the node keeps the map")]
        reason = (f"{value['bag']} could not be played (exit code {event.returncode}; the player "
                  "says why above)")
        return [LogInfo(msg=reason), Shutdown(reason=reason)]

    return [player, RegisterEventHandler(OnProcessExit(target_action=player, on_exit=ended))]


def _rviz(value):
    """RViz in the namespace of the node, as the topics of its configuration are relative."""
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [LogInfo(msg="rviz:=true is left out: the package rviz2 is not installed "
                        "(apt install ros-$ROS_DISTRO-rviz2); the node runs without it")]
    config = Path(get_package_share_directory("geopurify_ros")) / "config"
    return [Node(
        package="rviz2", executable="rviz2", name="rviz", namespace=value["namespace"],
        arguments=["-d", str(config / "mapping.rviz")],
        parameters=[{"use_sim_time": value["use_sim_time"] == "true"}],
    )]


def generate_launch_description():
    """Arguments, each with its description, and what they start."""
    config = Path(get_package_share_directory("geopurify_ros")) / "config"
    presets = "; ".join(f"{name}: {one.about}" for name, one in CAMERAS.items())
    arguments = [
        DeclareLaunchArgument("namespace", default_value="geopurify",
                              description="namespace of the node and its topics"),
        DeclareLaunchArgument("params_file", default_value=str(config / "mapping.yaml"),
                              description="YAML file with the parameters"),
        DeclareLaunchArgument("camera", default_value="generic", choices=list(CAMERAS),
                              description=f"camera preset, topics and parameters: {presets}"),
        *(DeclareLaunchArgument(name, default_value="",
                                description=f"{about}; empty: that of the camera preset")
          for name, about in INPUTS.items()),
        DeclareLaunchArgument("bag", default_value="",
                              description="rosbag2 or sequence folder to play, with /clock; the "
                              "input topics then name those in the bag"),
        DeclareLaunchArgument("rgb_transport", default_value="", choices=["", *TRANSPORTS],
                              description="how colour comes; empty: as the parameter file says"),
        DeclareLaunchArgument("depth_transport", default_value="",
                              choices=["", *TRANSPORTS, "png"],
                              description="how depth comes; empty: as the parameter file says"),
        DeclareLaunchArgument("autostart", default_value="", choices=["", "true", "false"],
                              description="configure and activate the node; false: wait for "
                              "ros2 lifecycle set; empty: as the parameter file says, else true"),
        DeclareLaunchArgument("use_sim_time", default_value="", choices=["", "true", "false"],
                              description="true: take the time from /clock, which bag:= "
                              "publishes; empty: as the parameter file says, else false"),
        DeclareLaunchArgument("rviz", default_value="false", choices=["true", "false"],
                              description="open RViz with the clouds of the node"),
        DeclareLaunchArgument("log_level", default_value="info",
                              description="debug, info, warn or error"),
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
