"""Arrays to messages; the other way round is data/messages/arrays.py, which needs no ROS."""

from __future__ import annotations

import sys

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image


def stamp_msg(nanoseconds: int) -> Time:
    """Message stamp of nanoseconds."""
    sec, nanosec = divmod(int(nanoseconds), 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def image_from_array(pixels: np.ndarray, encoding: str, frame_id: str, stamp: Time) -> Image:
    """An Image of (H, W) or (H, W, C) pixels."""
    pixels = np.ascontiguousarray(pixels)
    msg = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    msg.header.frame_id, msg.header.stamp = frame_id, stamp
    msg.is_bigendian = int(sys.byteorder == "big")
    msg.step = pixels.strides[0]
    msg.data.frombytes(memoryview(pixels).cast("B"))  # the constructor walks byte by byte
    return msg


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
