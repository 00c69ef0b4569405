"""Starts the mapping node in namespace `geopurify`; a bag and RViz if asked."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from geopurify_ros.cameras import CAMERAS, camera, remappings, with_topics

INPUTS = {
    "rgb": "topic of the colour images",
    "depth": "topic of the depth images",
    "camera_info": "topic of the calibration of colour (and of registered depth)",
    "depth_camera_info": "topic of the calibration of depth that is not registered",
    "pose": "topic of PoseStamped, for pose.source: pose",
    "odom": "topic of Odometry, for pose.source: odom",
}


def start(context):
    """Node, player and RViz for the arguments of this launch."""
    value = {n: LaunchConfiguration(n).perform(context) for n in (
        "namespace", "params_file", "camera", "bag", "use_sim_time", "autostart", "log_level",
        *INPUTS)}
    preset = camera(value["camera"])
    topics = with_topics(preset.topics, [f"{n}={value[n]}" for n in INPUTS if value[n]])
    own = {"use_sim_time": value["use_sim_time"] == "true",
           "lifecycle.autostart": value["autostart"] == "true"}
    mapping = Node(
        package="geopurify_ros", executable="mapping", name="mapping",
        namespace=value["namespace"], output="screen",
        parameters=[value["params_file"], {**preset.parameters, **own}],
        remappings=[] if value["bag"] else remappings(topics),
        arguments=["--ros-args", "--log-level", value["log_level"]],
    )
    if not value["bag"]:
        return [mapping]
    options = [f"--topic={n}={value[n]}" for n in INPUTS if value[n]]
    player = ExecuteProcess(
        cmd=["ros2", "run", "geopurify_ros", "geopurify", "play", value["bag"], "--clock",
             "--camera", value["camera"], "--namespace", value["namespace"], "--wait", "120",
             *options],
        output="screen",
    )
    return [mapping, player]


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
        DeclareLaunchArgument("autostart", default_value="true", choices=["true", "false"],
                              description="configure and activate the node; false: wait for "
                              "ros2 lifecycle set"),
        DeclareLaunchArgument("use_sim_time", default_value="false", choices=["true", "false"],
                              description="take the time from /clock, as with bag:="),
        DeclareLaunchArgument("rviz", default_value="false", choices=["true", "false"],
                              description="open RViz with the clouds of the node"),
        DeclareLaunchArgument("log_level", default_value="info",
                              description="debug, info, warn or error"),
    ]
    rviz = Node(
        package="rviz2", executable="rviz2", name="rviz",
        arguments=["-d", str(config / "mapping.rviz")],
        parameters=[{"use_sim_time": LaunchConfiguration("use_sim_time")}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription([*arguments, OpaqueFunction(function=start), rviz])
