"""Messages to arrays and back; every header is checked before its data is touched."""

from __future__ import annotations

import sys

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, Image

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
_QUATERNION_TOLERANCE = 0.1


def stamp_ns(stamp: Time) -> int:
    """Nanoseconds of a message stamp."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def stamp_msg(nanoseconds: int) -> Time:
    """Message stamp of nanoseconds."""
    sec, nanosec = divmod(int(nanoseconds), 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def rgb_from_image(msg: Image) -> np.ndarray:
    """(H, W, 3) uint8 of a colour image.

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


def depth_from_image(msg: Image) -> np.ndarray:
    """(H, W) float32 metres, NaN where there is none (REP-117, REP-118).

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
    if msg.encoding == "16UC1":
        depth_m = values.astype(np.float32) / 1000.0
        depth_m[values == 0] = np.nan
        return depth_m
    depth_m = values.astype(np.float32)
    depth_m[~(np.isfinite(depth_m) & (depth_m > 0))] = np.nan
    return depth_m


def _rows(msg: Image, pixel_bytes: int) -> np.ndarray:  # (H, W * pixel_bytes) uint8
    """The pixel bytes without row padding."""
    if not (0 < msg.width <= _MAX_SIDE_PX and 0 < msg.height <= _MAX_SIDE_PX):
        raise InputError(f"an image of {msg.width} x {msg.height} pixels cannot be right")
    used = msg.width * pixel_bytes
    if msg.step < used:
        raise InputError(f"step {msg.step} is less than the {used} bytes of a row")
    if len(msg.data) != msg.step * msg.height:
        raise InputError(
            f"{len(msg.data)} bytes of data, but step * height is {msg.step * msg.height}"
        )
    rows = np.frombuffer(msg.data, dtype=np.uint8).reshape(msg.height, msg.step)
    return np.ascontiguousarray(rows[:, :used])


def image_from_array(pixels: np.ndarray, encoding: str, frame_id: str, stamp: Time) -> Image:
    """An Image of (H, W) or (H, W, C) pixels."""
    pixels = np.ascontiguousarray(pixels)
    msg = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    msg.header.frame_id, msg.header.stamp = frame_id, stamp
    msg.is_bigendian = int(sys.byteorder == "big")
    msg.step = pixels.strides[0]
    msg.data.frombytes(memoryview(pixels).cast("B"))  # the constructor walks byte by byte
    return msg


def intrinsics_from_info(msg: CameraInfo) -> np.ndarray:
    """(3, 3) float64 camera matrix.

    Raises:
        InputError: the camera is not calibrated.
    """
    intrinsics = np.array(msg.k, dtype=np.float64).reshape(3, 3)
    check_intrinsics(intrinsics)
    return intrinsics


def matrix_from_pose(translation: tuple, quaternion_xyzw: tuple) -> np.ndarray:
    """(4, 4) float64 of a translation in metres and a quaternion.

    Raises:
        InputError: NaN or Inf, or a quaternion that is not of length one.
    """
    if not np.isfinite((*translation, *quaternion_xyzw)).all():
        raise InputError("the pose is not finite")
    length = float(np.linalg.norm(quaternion_xyzw))
    if abs(length - 1.0) > _QUATERNION_TOLERANCE:
        raise InputError(f"the quaternion has length {length:.3g}, expected 1")
    x, y, z, w = np.asarray(quaternion_xyzw, dtype=np.float64) / length
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = translation
    return matrix


def quaternion_from_matrix(rotation: np.ndarray) -> np.ndarray:
    """(4,) x y z w of a (3, 3) rotation, by the largest component: stable for every angle."""
    r = rotation
    squares = np.array([
        1 + r[0, 0] - r[1, 1] - r[2, 2],
        1 - r[0, 0] + r[1, 1] - r[2, 2],
        1 - r[0, 0] - r[1, 1] + r[2, 2],
        1 + r[0, 0] + r[1, 1] + r[2, 2],
    ])
    k = int(squares.argmax())
    q = np.empty(4)
    if k == 3:
        q[:] = [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], squares[3]]
    else:
        i, j = (k + 1) % 3, (k + 2) % 3
        q[k], q[i], q[j] = squares[k], r[i, k] + r[k, i], r[j, k] + r[k, j]
        q[3] = r[j, i] - r[i, j]
    return q / np.linalg.norm(q)
