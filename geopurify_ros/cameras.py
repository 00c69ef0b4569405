"""Camera presets: the topics of common drivers and what they need; launch file and CLI read them.

Imports nothing heavy: the launch file runs without torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from geopurify_ros.errors import ConfigError


@dataclass(frozen=True)
class Topics:
    """Where an RGB-D camera and its pose are published; the names are launch arguments, too."""

    rgb: str = "rgb/image"
    depth: str = "depth/image"
    camera_info: str = "rgb/camera_info"
    depth_camera_info: str = "depth/camera_info"
    pose: str = "pose"
    odom: str = "odom"


@dataclass(frozen=True)
class Camera:
    """One preset.

    Attributes:
        about: the driver, and what it must be started with.
        parameters: values of the node's parameters.
    """

    about: str
    topics: Topics
    parameters: Mapping[str, bool | str | float] = field(default_factory=dict)


CAMERAS: dict[str, Camera] = {
    "generic": Camera("any camera: rgb/image, depth/image and rgb/camera_info", Topics()),
    "realsense": Camera(
        "RealSense D4xx, realsense2_camera with align_depth.enable:=true",
        Topics(
            rgb="/camera/camera/color/image_raw",
            depth="/camera/camera/aligned_depth_to_color/image_raw",
            camera_info="/camera/camera/color/camera_info",
            depth_camera_info="/camera/camera/aligned_depth_to_color/camera_info",
        ),
    ),
    "realsense_unaligned": Camera(
        "RealSense D4xx, realsense2_camera as it starts: the node registers depth",
        Topics(
            rgb="/camera/camera/color/image_raw",
            depth="/camera/camera/depth/image_rect_raw",
            camera_info="/camera/camera/color/camera_info",
            depth_camera_info="/camera/camera/depth/camera_info",
        ),
        {"camera.depth_registered": False},
    ),
    "orbbec": Camera(
        "Orbbec and Astra, orbbec_camera or astra_camera with depth_registration:=true",
        Topics(
            rgb="/camera/color/image_raw",
            depth="/camera/depth/image_raw",
            camera_info="/camera/color/camera_info",
            depth_camera_info="/camera/depth/camera_info",
        ),
    ),
    "azure_kinect": Camera(
        "Azure Kinect, azure_kinect_ros_driver: depth_to_rgb, distortion is undone here",
        Topics(
            rgb="/rgb/image_raw",
            depth="/depth_to_rgb/image_raw",
            camera_info="/rgb/camera_info",
            depth_camera_info="/depth_to_rgb/camera_info",
        ),
    ),
    "oak": Camera(
        "OAK-D, depthai_ros_driver in RGBD mode, stereo aligned to RGB (its default)",
        Topics(
            rgb="/oak/rgb/image_raw",
            depth="/oak/stereo/image_raw",
            camera_info="/oak/rgb/camera_info",
            depth_camera_info="/oak/stereo/camera_info",
        ),
    ),
    "zed": Camera(
        "ZED, zed_wrapper 5.1 or newer: rectified left image, registered depth",
        Topics(  # its pose is not that of the camera's optical frame: take odom or TF
            rgb="/zed/zed_node/rgb/color/rect/image",
            depth="/zed/zed_node/depth/depth_registered",
            camera_info="/zed/zed_node/rgb/color/rect/camera_info",
            depth_camera_info="/zed/zed_node/depth/camera_info",
            odom="/zed/zed_node/odom",
        ),
    ),
    "zed_old": Camera(
        "ZED, zed_wrapper before 5.1, which named its topics otherwise",
        Topics(
            rgb="/zed/zed_node/rgb/image_rect_color",
            depth="/zed/zed_node/depth/depth_registered",
            camera_info="/zed/zed_node/rgb/camera_info",
            depth_camera_info="/zed/zed_node/depth/camera_info",
            odom="/zed/zed_node/odom",
        ),
    ),
}


def camera(name: str) -> Camera:
    """The preset of that name; ConfigError with the known ones otherwise."""
    if name not in CAMERAS:
        raise ConfigError(f"there is no camera preset '{name}': use {', '.join(CAMERAS)}")
    return CAMERAS[name]


def with_topics(topics: Topics, assignments: list[str]) -> Topics:
    """`topics` after ["depth=/camera/depth/image_raw", ...].

    Raises:
        ConfigError: not of that form, or no such input.
    """
    names = [item.name for item in dataclasses.fields(Topics)]
    changed = {}
    for text in assignments:
        name, equals, topic = text.partition("=")
        if not equals or name not in names or not topic:
            raise ConfigError(
                f"'{text}' is not of the form INPUT=TOPIC with one of {', '.join(names)}"
            )
        changed[name] = topic
    return dataclasses.replace(topics, **changed)


def remappings(topics: Topics) -> list[tuple[str, str]]:
    """From the node's own names to `topics`, as ROS remaps them."""
    own, given = dataclasses.asdict(Topics()), dataclasses.asdict(topics)
    return [(own[name], given[name]) for name in own if own[name] != given[name]]
