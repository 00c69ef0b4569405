"""Poses from a topic: which frame they are of."""

from __future__ import annotations

from types import SimpleNamespace as Message

import pytest

from geopurify_ros.data.messages.pose_track import PoseTrack
from geopurify_ros.data.messages.transform_buffer import TransformBuffer
from geopurify_ros.errors import InputError


def odometry(child_frame, x_m):
    pose = Message(position=Message(x=x_m, y=0.0, z=0.0),
                   orientation=Message(x=0.0, y=0.0, z=0.0, w=1.0))
    header = Message(frame_id="map", stamp=Message(sec=1, nanosec=0))
    return Message(header=header, child_frame_id=child_frame, pose=Message(pose=pose))


def test_odometry_of_no_frame_is_refused_and_changes_nothing():
    """It may be of the robot or of the camera: a guess would turn the map without a word."""
    transforms = TransformBuffer()
    transforms.set("base", "camera", 0, (0.5, 0, 0), (0, 0, 0, 1), static=True)
    track = PoseTrack(transforms, "map", has_topic=True)
    track.take_odometry(odometry("base", 2.0))
    with pytest.raises(InputError, match="has no child_frame_id"):
        track.take_odometry(odometry("", 7.0))
    assert track.lookup("camera", 1_000_000_000)[0, 3] == 2.5
