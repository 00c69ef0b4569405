"""The camera matrix of a sensor_msgs/CameraInfo, for the image that was really received."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.core.frame import check_intrinsics, check_view
from geopurify_ros.errors import InputError


def image_sizes(msg: Any) -> tuple[tuple[int, int], ...]:
    """The sizes (H, W) that an image of this camera may have: whole, or cropped and binned."""
    whole = (int(msg.height), int(msg.width))
    binned = _binned_size(msg)
    return (whole,) if binned == whole else (whole, binned)


def intrinsics_from_info(
    msg: Any, size: tuple[int, ...], rectified: bool = False
) -> NDArray[np.float64]:
    """(3, 3) camera matrix of an image of `size` (H, W): of K, or of P where it is `rectified`.

    K and P are those of the whole sensor; an image of the size of its region of interest, or of
    fewer pixels by binning, has its own. Some drivers write the size of that image in the place
    of the sensor's: then the matrix that can be right counts.

    Raises:
        InputError: the camera is not calibrated, or the matrix is not that of such an image.
    """
    intrinsics = _matrix(msg, rectified)
    check_intrinsics(intrinsics)
    binned = _binned(msg, intrinsics)
    if size == (msg.height, msg.width):
        binned = min((intrinsics, binned), key=lambda matrix: _off_center(matrix, size))
    check_view(binned, size)
    return binned


def _matrix(msg: Any, rectified: bool) -> NDArray[np.float64]:
    if not rectified:
        return np.array(msg.k, dtype=np.float64).reshape(3, 3)
    matrix = np.array(msg.p, dtype=np.float64).reshape(3, 4)[:, :3]
    if not matrix.any():
        raise InputError("its projection P is empty, and camera.rectified is true")
    return matrix


def _binning(msg: Any) -> tuple[int, int]:
    return max(1, int(msg.binning_x)), max(1, int(msg.binning_y))  # 0 means 1


def _binned_size(msg: Any) -> tuple[int, int]:
    x, y = _binning(msg)
    width, height = int(msg.roi.width) or int(msg.width), int(msg.roi.height) or int(msg.height)
    return height // y, width // x


def _binned(msg: Any, intrinsics: NDArray[np.float64]) -> NDArray[np.float64]:
    """After the cut and the mean over blocks of pixels; pixel centres are integers."""
    adjusted = intrinsics.copy()
    offsets = (int(msg.roi.x_offset), int(msg.roi.y_offset))
    for axis, (factor, offset) in enumerate(zip(_binning(msg), offsets, strict=True)):
        adjusted[axis, :2] /= factor
        adjusted[axis, 2] = (intrinsics[axis, 2] - offset + 0.5) / factor - 0.5
    return adjusted


def _off_center(intrinsics: NDArray[np.float64], size: tuple[int, ...]) -> float:
    """How far the principal point is from the middle, as a share of the image."""
    return float(np.abs(intrinsics[:2, 2] / size[::-1] - 0.5).max())
