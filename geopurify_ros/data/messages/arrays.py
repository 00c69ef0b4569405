"""What ROS messages hold, as arrays; every header is checked before its data is touched.

Works without ROS: the message classes of rclpy and of rosbags have the same fields.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.data.messages import color_image
from geopurify_ros.errors import InputError

# mono16 is what some drivers call 16UC1, 64FC1 what simulators make of 32FC1
_DEPTH = {"16UC1": "u2", "mono16": "u2", "16SC1": "i2", "32SC1": "i4", "32FC1": "f4",
          "64FC1": "f8"}
_MAX_SIDE_PX = 16384
MAX_PIXELS = 1 << 24  # 16 megapixels, more than any RGB-D camera has
_QUATERNION_TOLERANCE = 0.1
_TOO_FAR_M = 100.0  # no RGB-D camera has half of its pixels beyond
_SPARSE = slice(None, None, 8)  # enough pixels for a median


def stamp_ns(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces/Time."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def rgb_from_image(msg: Any) -> NDArray[np.uint8]:
    """(H, W, 3) of a colour sensor_msgs/Image.

    Raises:
        InputError: an encoding that is no colour, or data that does not fit the header.
    """
    rows, row_bytes = color_image.shape_of(msg.encoding, msg.height, msg.width)
    return color_image.rgb_of(msg.encoding, _rows(msg, rows, row_bytes), msg.is_bigendian)


def depth_from_image(msg: Any, unit_m: float = 0.0) -> NDArray[np.float32]:
    """(H, W) metres of a depth sensor_msgs/Image, NaN where there is none (REP-117, REP-118).

    Raises:
        InputError: an encoding that is no depth, data that does not fit the header, or another
            unit than `unit_m`.
    """
    if msg.encoding not in _DEPTH:
        raise InputError(
            f"encoding '{msg.encoding}' is not a depth encoding: "
            "use 16UC1 (millimetres) or 32FC1 (metres)"
        )
    dtype = np.dtype((">" if msg.is_bigendian else "<") + _DEPTH[msg.encoding])
    values = _rows(msg, msg.height, msg.width * dtype.itemsize).view(dtype)
    return metres_of(values, unit_m)


def metres_of(values: NDArray[Any], unit_m: float = 0.0) -> NDArray[np.float32]:  # (H, W)
    """Metres of stored depth, NaN for everything that is no distance.

    `unit_m` is the length of the number 1; 0: millimetres of integers, metres of floats.

    Raises:
        InputError: it cannot be that unit.
    """
    if values.dtype.kind != "f":
        unit_m = unit_m or 0.001
    elif unit_m in (0.0, 1.0):
        unit_m = 1.0
        _check_metres(values)
    with np.errstate(over="ignore"):
        # divided: the float32 of 1001 / 1000 is the nearest one to 1.001
        depth_m = values.astype(np.float32) / np.float32(1.0 / unit_m)
    depth_m[~(np.isfinite(depth_m) & (depth_m > 0))] = np.nan
    return depth_m


def _check_metres(values: NDArray[Any]) -> None:
    sparse = values[_SPARSE, _SPARSE]
    known = sparse[np.isfinite(sparse) & (sparse > 0)]
    if known.size and np.median(known) > _TOO_FAR_M:
        raise InputError(
            f"half of the depth is beyond {np.median(known):.0f} m, these are no metres: for "
            "millimetres set camera.depth_unit_m to 0.001 (--depth-unit 0.001)"
        )


def check_size(height: int, width: int) -> None:
    """Raise InputError unless an image of that size can be right."""
    sides = 0 < width <= _MAX_SIDE_PX and 0 < height <= _MAX_SIDE_PX
    if not sides or width * height > MAX_PIXELS:
        raise InputError(f"an image of {width} x {height} pixels cannot be right")


def _rows(msg: Any, rows: int, row_bytes: int) -> NDArray[np.uint8]:  # (rows, row_bytes)
    """The pixel bytes without row padding."""
    check_size(msg.height, msg.width)
    step, size = msg.step, len(msg.data)
    if size == rows * row_bytes:  # no padding, whatever step says: drivers leave it 0
        step = row_bytes
    if step < row_bytes:
        raise InputError(f"step {step} is less than the {row_bytes} bytes of a row")
    if size != step * rows:
        raise InputError(f"{size} bytes of data, but step * height is {step * rows}")
    data = np.frombuffer(msg.data, dtype=np.uint8).reshape(rows, step)
    return np.ascontiguousarray(data[:, :row_bytes])


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
