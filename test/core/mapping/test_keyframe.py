"""Which frames are fused: moved, turned or waited enough."""

import numpy as np
import pytest

from geopurify_ros.config import KeyframeConfig
from geopurify_ros.core.mapping.keyframe import KeyframeGate, pose_distance

SECOND_NS = 1_000_000_000


def pose(x=0.0, yaw=0.0):
    made = np.eye(4)
    made[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    made[0, 3] = x
    return made


@pytest.mark.parametrize("angle", [0.0, 1e-7, 0.3, np.pi / 2, 3.0, np.pi])
def test_distance_is_translation_and_angle(angle):
    translation_m, rotation_rad = pose_distance(pose(1.0, 0.4), pose(1.25, 0.4 + angle))
    assert translation_m == pytest.approx(0.25)
    assert rotation_rad == pytest.approx(angle, abs=1e-9)


@pytest.mark.parametrize(("moved", "expected"), [
    ((pose(), 0), False),
    ((pose(x=0.07, yaw=0.07), SECOND_NS), False),
    ((pose(x=0.09), 0), True),
    ((pose(x=-0.09), 0), True),
    ((pose(yaw=0.09), 0), True),
    ((pose(), 2 * SECOND_NS), True),
    ((pose(), -2 * SECOND_NS), True),  # a bag that was started again
])
def test_frames_pass_that_moved_turned_or_waited(moved, expected):
    gate = KeyframeGate(KeyframeConfig())
    assert gate.is_keyframe(pose(), 0)
    gate.accept(pose(), 0)
    assert gate.is_keyframe(*moved) is expected


def test_slow_motion_adds_up_to_a_keyframe():
    """Distance counts from the last accepted frame, not from the last one asked about."""
    gate = KeyframeGate(KeyframeConfig(min_translation_m=0.1, max_interval_s=1e6))
    accepted = []
    for step in range(11):
        x = 0.03 * step
        if gate.is_keyframe(pose(x), step):
            gate.accept(pose(x), step)
            accepted.append(step)
    assert accepted == [0, 4, 8]


def test_after_a_reset_the_next_frame_passes():
    gate = KeyframeGate(KeyframeConfig())
    gate.accept(pose(), 0)
    assert not gate.is_keyframe(pose(), 0)
    gate.reset()
    assert gate.is_keyframe(pose(), 0)
