"""The input contract: one posed RGB-D image, checked once at the door."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.errors import InputError, expect_shape

_ROTATION_TOLERANCE = 1e-3
_ROW_TOLERANCE = 1e-6
_SKEW_TOLERANCE = 0.01  # of the focal length; it is not used
_OFF_CENTER = 0.4  # share of the image; a matrix of twice the size puts it at the very edge
_FOV_DEG = (2.0, 165.0)  # from a telephoto lens to where a pinhole image ends


@dataclass(frozen=True)
class RgbdFrame:
    """One image with depth on the same pixels and the pose of its optical frame.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth_m: (H, W) float32, metres along the optical axis, NaN where there is none.
        intrinsics: (3, 3) float64, pixels; an integer coordinate is a pixel centre.
        T_world_camera: (4, 4) float64, p_world = T_world_camera @ p_camera; camera axes are x
            right, y down, z forward.
        stamp_ns: time of the image.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    intrinsics: NDArray[np.float64]
    T_world_camera: NDArray[np.float64]
    stamp_ns: int

    def __post_init__(self) -> None:
        """Raise InputError for anything that must not enter a map."""
        expect_shape(self.rgb, (None, None, 3), "colour image")
        expect_shape(self.depth_m, self.rgb.shape[:2], "depth image")
        if self.rgb.size == 0:
            raise InputError("the image is empty")
        check_intrinsics(self.intrinsics)
        check_pose(self.T_world_camera)


def check_intrinsics(intrinsics: NDArray[np.float64]) -> None:
    """Raise InputError unless (3, 3) `intrinsics` is the matrix of a pinhole camera."""
    expect_shape(intrinsics, (3, 3), "intrinsics")
    finite = bool(np.isfinite(intrinsics).all())
    if not finite or intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0:
        raise InputError(
            f"the focal length fx = {intrinsics[0, 0]}, fy = {intrinsics[1, 1]} is not positive: "
            "is the camera calibrated?"
        )
    if np.abs(intrinsics[2] - (0, 0, 1)).max() > _ROW_TOLERANCE:
        row = " ".join(f"{value:g}" for value in intrinsics[2])
        raise InputError(
            f"the third row of the camera matrix is {row}, not 0 0 1: is it transposed?"
        )
    skew = max(abs(intrinsics[0, 1]), abs(intrinsics[1, 0]))
    if skew > _SKEW_TOLERANCE * intrinsics[0, 0]:
        raise InputError(f"the camera matrix is skewed by {skew:g}, which no camera is")


def check_view(intrinsics: NDArray[np.float64], size: tuple[int, ...]) -> None:
    """Raise InputError unless (3, 3) `intrinsics` can be those of an image of `size` (H, W)."""
    height, width = size
    (fx, _, cx), (_, fy, cy) = intrinsics[0], intrinsics[1]
    fov = [math.degrees(2 * math.atan(side / (2 * f))) for side, f in ((width, fx), (height, fy))]
    if min(fov) < _FOV_DEG[0] or max(fov) > _FOV_DEG[1]:
        raise InputError(
            f"fx = {fx:g}, fy = {fy:g} would be a field of view of {fov[0]:.0f} x {fov[1]:.0f} "
            f"degrees in an image of {width} x {height} pixels: is this its camera matrix?"
        )
    if max(abs(cx / width - 0.5), abs(cy / height - 0.5)) > _OFF_CENTER:
        raise InputError(
            f"the principal point ({cx:g}, {cy:g}) is outside the image of {width} x {height} "
            f"pixels, or at its edge: the camera matrix seems to be that of images of about "
            f"{2 * cx:.0f} x {2 * cy:.0f}"
        )


def check_pose(T_world_camera: NDArray[np.float64]) -> None:
    """Raise InputError unless (4, 4) `T_world_camera` is a finite rigid transform."""
    expect_shape(T_world_camera, (4, 4), "pose")
    if not np.isfinite(T_world_camera).all():
        raise InputError("the pose is not finite")
    if np.abs(T_world_camera[3] - (0, 0, 0, 1)).max() > _ROTATION_TOLERANCE:
        raise InputError("the last row of the pose is not 0 0 0 1: is the matrix transposed?")
    rotation = T_world_camera[:3, :3]
    skew = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if skew > _ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
        raise InputError("the rotation of the pose is not a rotation matrix")
