"""What may enter a map is checked once, with a sentence for the user."""

import numpy as np
import pytest

from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.errors import InputError


def make_frame(**changed):
    good = {
        "rgb": np.zeros((4, 6, 3), dtype=np.uint8),
        "depth_m": np.ones((4, 6), dtype=np.float32),
        "intrinsics": np.array([[5.0, 0, 3], [0, 5.0, 2], [0, 0, 1]]),
        "T_world_camera": np.eye(4),
        "stamp_ns": 0,
    }
    return RgbdFrame(**{**good, **changed})


def with_entry(matrix, place, value):
    changed = matrix.copy()
    changed[place] = value
    return changed


def test_a_sound_frame_passes():
    assert make_frame().depth_m.shape == (4, 6)


INTRINSICS = make_frame().intrinsics


@pytest.mark.parametrize(("changed", "sentence"), [
    ({"rgb": np.zeros((4, 6), np.uint8)}, r"colour image has shape \(4, 6\), expected"),
    ({"rgb": np.zeros((4, 6, 4), np.uint8)}, "colour image has shape"),
    ({"depth_m": np.ones((4, 5), np.float32)}, r"depth image has shape \(4, 5\), expected \(4, 6"),
    ({"rgb": np.zeros((0, 6, 3), np.uint8), "depth_m": np.ones((0, 6), np.float32)},
     "the image is empty"),
    ({"intrinsics": np.zeros((3, 3))}, "is the camera calibrated"),
    ({"intrinsics": np.eye(4)}, "intrinsics has shape"),
    ({"intrinsics": with_entry(INTRINSICS, (0, 0), -5.0)}, "fx = -5.0"),
    ({"intrinsics": with_entry(INTRINSICS, (1, 2), np.nan)}, "is the camera calibrated"),
    ({"T_world_camera": np.eye(3)}, "pose has shape"),
    ({"T_world_camera": np.full((4, 4), -np.inf)}, "the pose is not finite"),
    ({"T_world_camera": np.diag([2.0, 2, 2, 1])}, "not a rotation matrix"),
    ({"T_world_camera": np.diag([1.0, 1, -1, 1])}, "not a rotation matrix"),  # a mirror
    ({"T_world_camera": np.diag([0.0, 0, 0, 1])}, "not a rotation matrix"),
    ({"T_world_camera": np.eye(4) + np.diag([2.0], -3)}, "last row of the pose is not 0 0 0 1"),
])
def test_what_must_not_enter_a_map_is_refused(changed, sentence):
    with pytest.raises(InputError, match=sentence):
        make_frame(**changed)


def test_poses_rounded_to_four_digits_pass():
    angle = 0.7
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert make_frame(T_world_camera=pose.round(4)).stamp_ns == 0
