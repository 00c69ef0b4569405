"""Which frames are worth fusing."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.config import KeyframeConfig


def pose_distance(
    T_world_a: NDArray[np.float64],  # (4, 4)
    T_world_b: NDArray[np.float64],  # (4, 4)
) -> tuple[float, float]:
    """Translation in metres and rotation angle in radians between two poses."""
    T_a_b = np.linalg.inv(T_world_a) @ T_world_b
    # atan2 of both parts: arccos of the trace alone loses small angles
    r = T_a_b[:3, :3]
    axis = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    angle = float(np.arctan2(np.linalg.norm(axis), np.trace(r) - 1.0))
    return math.hypot(*T_a_b[:3, 3]), angle


class KeyframeGate:
    """Passes the first frame, and each that moved, turned or waited enough since the last."""

    def __init__(self, config: KeyframeConfig) -> None:
        """Start with no keyframe."""
        self.config = config
        self._last: tuple[NDArray[np.float64], int] | None = None

    def is_keyframe(self, T_world_camera: NDArray[np.float64], stamp_ns: int) -> bool:
        """Whether the frame at this pose (4, 4) and time would be a keyframe."""
        if self._last is None:
            return True
        last_pose, last_stamp_ns = self._last
        translation_m, rotation_rad = pose_distance(last_pose, T_world_camera)
        waited_s = abs(stamp_ns - last_stamp_ns) * 1e-9
        return (
            translation_m >= self.config.min_translation_m
            or rotation_rad >= self.config.min_rotation_rad
            or waited_s >= self.config.max_interval_s
        )

    def accept(self, T_world_camera: NDArray[np.float64], stamp_ns: int) -> None:
        """Remember the frame as the newest keyframe; call it once the frame is fused."""
        self._last = (T_world_camera, stamp_ns)

    def reset(self) -> None:
        """Forget the last keyframe."""
        self._last = None
