"""What ROS messages hold, as arrays; every header is checked before its data is touched.

Works without ROS: the message classes of rclpy and of rosbags have the same fields.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.core.frame import check_intrinsics
from geopurify_ros.errors import InputError

# encoding -> channels, order of red, green, blue among them
_COLOR = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}
_DEPTH = {"16UC1": "u2", "32FC1": "f4"}
_MAX_SIDE_PX = 16384
MAX_PIXELS = 1 << 24  # 16 megapixels, more than any RGB-D camera has
_QUATERNION_TOLERANCE = 0.1


def stamp_ns(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces/Time."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def rgb_from_image(msg: Any) -> NDArray[np.uint8]:
    """(H, W, 3) of a colour sensor_msgs/Image.

    Raises:
        InputError: an encoding that is no colour, or data that does not fit the header.
    """
    if msg.encoding not in _COLOR:
        raise InputError(
            f"encoding '{msg.encoding}' is not a colour encoding: use {', '.join(_COLOR)}"
        )
    channels, order = _COLOR[msg.encoding]
    pixels = _rows(msg, channels).reshape(msg.height, msg.width, channels)
    return np.ascontiguousarray(pixels[:, :, order])


def depth_from_image(msg: Any) -> NDArray[np.float32]:
    """(H, W) metres of a depth sensor_msgs/Image, NaN where there is none (REP-117, REP-118).

    Raises:
        InputError: an encoding that is no depth, or data that does not fit the header.
    """
    if msg.encoding not in _DEPTH:
        raise InputError(
            f"encoding '{msg.encoding}' is not a depth encoding: "
            "use 16UC1 (millimetres) or 32FC1 (metres)"
        )
    dtype = np.dtype((">" if msg.is_bigendian else "<") + _DEPTH[msg.encoding])
    values = _rows(msg, dtype.itemsize).view(dtype)
    return metres_from_mm(values) if msg.encoding == "16UC1" else valid_metres(values)


def metres_from_mm(values: NDArray[Any]) -> NDArray[np.float32]:
    """Metres of millimetres; 0 is "no depth"."""
    depth_m = values.astype(np.float32) / np.float32(1000.0)
    depth_m[values == 0] = np.nan
    return depth_m


def valid_metres(values: NDArray[Any]) -> NDArray[np.float32]:
    """Metres with NaN for everything that is no distance."""
    depth_m = values.astype(np.float32)
    depth_m[~(np.isfinite(depth_m) & (depth_m > 0))] = np.nan
    return depth_m


def check_size(height: int, width: int) -> None:
    """Raise InputError unless an image of that size can be right."""
    sides = 0 < width <= _MAX_SIDE_PX and 0 < height <= _MAX_SIDE_PX
    if not sides or width * height > MAX_PIXELS:
        raise InputError(f"an image of {width} x {height} pixels cannot be right")


def _rows(msg: Any, pixel_bytes: int) -> NDArray[np.uint8]:  # (H, W * pixel_bytes)
    """The pixel bytes without row padding."""
    check_size(msg.height, msg.width)
    used = msg.width * pixel_bytes
    if msg.step < used:
        raise InputError(f"step {msg.step} is less than the {used} bytes of a row")
    if len(msg.data) != msg.step * msg.height:
        raise InputError(
            f"{len(msg.data)} bytes of data, but step * height is {msg.step * msg.height}"
        )
    rows = np.frombuffer(msg.data, dtype=np.uint8).reshape(msg.height, msg.step)
    return np.ascontiguousarray(rows[:, :used])


def intrinsics_from_info(msg: Any) -> NDArray[np.float64]:
    """(3, 3) camera matrix of a sensor_msgs/CameraInfo.

    Raises:
        InputError: the camera is not calibrated.
    """
    intrinsics = np.array(msg.k, dtype=np.float64).reshape(3, 3)
    check_intrinsics(intrinsics)
    return intrinsics


def intrinsics_from_projection(msg: Any) -> NDArray[np.float64]:
    """(3, 3) camera matrix of rectified images: the left part of P of a sensor_msgs/CameraInfo.

    Raises:
        InputError: there is no P.
    """
    intrinsics = np.array(msg.p, dtype=np.float64).reshape(3, 4)[:, :3]
    if not intrinsics.any():
        raise InputError("its projection P is empty, and camera.rectified is true")
    check_intrinsics(intrinsics)
    return intrinsics


def matrix_from_pose(
    translation: Sequence[float] | NDArray[np.float64],
    quaternion_xyzw: Sequence[float] | NDArray[np.float64],
) -> NDArray[np.float64]:
    """(4, 4) of a translation in metres and a quaternion.

    Raises:
        InputError: NaN or Inf, or a quaternion that is not of length one.
    """
    if not np.isfinite((*translation, *quaternion_xyzw)).all():
        raise InputError("the pose is not finite")
    length = math.hypot(*quaternion_xyzw)  # without numpy's overflow at 1e308
    if not abs(length - 1.0) <= _QUATERNION_TOLERANCE:
        raise InputError(f"the quaternion has length {length:.3g}, expected 1")
    x, y, z, w = np.asarray(quaternion_xyzw, dtype=np.float64) / length
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = np.asarray(translation)
    return matrix
