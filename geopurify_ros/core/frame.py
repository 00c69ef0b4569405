"""The input contract: one posed RGB-D image, checked once at the door."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.errors import InputError, expect_shape

_ROTATION_TOLERANCE = 1e-3


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
    """Raise InputError unless (3, 3) `intrinsics` is finite with positive focal lengths."""
    expect_shape(intrinsics, (3, 3), "intrinsics")
    finite = bool(np.isfinite(intrinsics).all())
    if not finite or intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0:
        raise InputError(
            f"the focal length fx = {intrinsics[0, 0]}, fy = {intrinsics[1, 1]} is not positive: "
            "is the camera calibrated?"
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
