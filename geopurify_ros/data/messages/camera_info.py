"""The camera matrix of a sensor_msgs/CameraInfo, for the image that was really received."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.core.mapping.frame import check_intrinsics, check_view
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


@dataclass(frozen=True)
class Region:
    """What of the sensor is in the image, and how many of its pixels make one.

    Attributes:
        binning: columns and rows, 1 at least.
        offset: first column and row of the region of interest.
        size: its width and height; those of the sensor where none is told.
    """

    binning: tuple[int, int]
    offset: tuple[int, int]
    size: tuple[int, int]


def region_of(msg: Any) -> Region:
    """The region that a camera info tells; all of the sensor where it has no such fields."""
    roi = getattr(msg, "roi", None)
    binning = [max(1, int(getattr(msg, f"binning_{axis}", 0))) for axis in "xy"]  # 0 means 1
    offset, size = (0, 0), (int(msg.width), int(msg.height))
    if roi is not None:
        offset = (int(roi.x_offset), int(roi.y_offset))
        size = (int(roi.width) or size[0], int(roi.height) or size[1])
    return Region((binning[0], binning[1]), offset, size)


def _binned_size(msg: Any) -> tuple[int, int]:
    region = region_of(msg)
    return region.size[1] // region.binning[1], region.size[0] // region.binning[0]


def _binned(msg: Any, intrinsics: NDArray[np.float64]) -> NDArray[np.float64]:
    """After the cut and the mean over blocks of pixels; pixel centres are integers."""
    adjusted = intrinsics.copy()
    region = region_of(msg)
    for axis, (factor, offset) in enumerate(zip(region.binning, region.offset, strict=True)):
        adjusted[axis, :2] /= factor
        adjusted[axis, 2] = (intrinsics[axis, 2] - offset + 0.5) / factor - 0.5
    return adjusted


def _off_center(intrinsics: NDArray[np.float64], size: tuple[int, ...]) -> float:
    """How far the principal point is from the middle, as a share of the image."""
    return float(np.abs(intrinsics[:2, 2] / size[::-1] - 0.5).max())
