"""Starts the mapping node in namespace `geopurify`, and RViz if asked."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description():
    config = Path(get_package_share_directory("geopurify_ros")) / "config"
    arguments = [
        ("namespace", "geopurify", "namespace of the node and its topics"),
        ("params_file", str(config / "mapping.yaml"), "YAML file with the parameters"),
        ("rgb", "rgb/image", "topic of the colour images"),
        ("depth", "depth/image", "topic of the depth images, registered to colour"),
        ("camera_info", "rgb/camera_info", "topic of the calibration of both"),
        ("pose", "pose", "topic of PoseStamped, for pose.source: pose"),
        ("odom", "odom", "topic of Odometry, for pose.source: odom"),
        ("use_sim_time", "false", "take the time from /clock, as with ros2 bag play --clock"),
        ("rviz", "false", "open RViz with the clouds of the node"),
        ("log_level", "info", "debug, info, warn or error"),
    ]
    value = {name: LaunchConfiguration(name) for name, _, _ in arguments}
    mapping = Node(
        package="geopurify_ros",
        executable="mapping",
        name="mapping",
        namespace=value["namespace"],
        output="screen",
        parameters=[value["params_file"], {"use_sim_time": value["use_sim_time"]}],
        remappings=[
            ("rgb/image", value["rgb"]),
            ("depth/image", value["depth"]),
            ("rgb/camera_info", value["camera_info"]),
            ("pose", value["pose"]),
            ("odom", value["odom"]),
        ],
        arguments=["--ros-args", "--log-level", value["log_level"]],
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        arguments=["-d", str(config / "mapping.rviz")],
        parameters=[{"use_sim_time": value["use_sim_time"]}],
        condition=IfCondition(value["rviz"]),
    )
    declared = [DeclareLaunchArgument(n, default_value=d, description=a) for n, d, a in arguments]
    return LaunchDescription([*declared, mapping, rviz])
