"""Our transform buffer: exact on a moving tree, equal to tf2 where that is installed."""

from __future__ import annotations

import numpy as np
import pytest

from geopurify_ros.data.messages.arrays import matrix_from_pose
from geopurify_ros.data.messages.transform_buffer import TransformBuffer
from geopurify_ros.errors import InputError, TransformError
from geopurify_ros.ros.outputs.to_messages import quaternion_from_matrix, stamp_msg

SECOND = 1_000_000_000
# child, parent, axis, turns per second, velocity: every link turns steadily and moves straight
LINKS = [
    ("odom", "map", (0, 0, 1), 0.02, (0.1, 0.0, 0.0)),
    ("base", "odom", (0, 0, 1), -0.05, (0.5, 0.2, 0.0)),
    ("arm", "base", (0, 1, 0), 0.11, (0.0, 0.0, 0.1)),
    ("hand", "arm", (1, 2, 2), 0.07, (0.0, 0.3, 0.0)),
    ("camera", "base", (1, 0, 0), 0.03, (0.0, 0.0, 0.0)),
]


def pose_at(link, seconds: float):
    """Translation and quaternion of a link; exactly what slerp and lerp give between samples."""
    _, _, axis, turns, velocity = link
    half = np.pi * turns * seconds
    axis = np.array(axis) / np.linalg.norm(axis)
    quaternion = (*(np.sin(half) * axis), np.cos(half))
    return tuple(np.array(velocity) * seconds), quaternion


def chain(frame: str, seconds: float) -> np.ndarray:
    """T_map_frame by multiplying matrices, the plain reference."""
    T = np.eye(4)
    while frame != "map":
        link = next(link for link in LINKS if link[0] == frame)
        T = matrix_from_pose(*pose_at(link, seconds)) @ T
        frame = link[1]
    return T


@pytest.fixture
def buffer():
    made = TransformBuffer(cache_s=100.0)
    for link in LINKS:
        for seconds in np.arange(0.0, 10.01, 0.1):
            t, q = pose_at(link, seconds)
            made.set(link[1], link[0], round(seconds * SECOND), t, q)
    return made


def test_lookups_in_a_moving_tree_equal_the_chain_of_matrices(buffer):
    generator = np.random.default_rng(0)
    frames = ["map", "odom", "base", "arm", "hand", "camera"]
    for _ in range(300):
        target, source = generator.choice(frames, 2)
        nanoseconds = int(generator.integers(0, 10 * SECOND))
        expected = np.linalg.inv(chain(target, nanoseconds / SECOND)) @ chain(
            source, nanoseconds / SECOND)
        found = buffer.lookup(target, source, nanoseconds)
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_equal_to_tf2_on_a_moving_tree():
    tf2_ros = pytest.importorskip("tf2_ros", reason="needs a ROS 2 installation with tf2_ros")
    from geometry_msgs.msg import TransformStamped
    from rclpy.duration import Duration
    from rclpy.time import Time

    theirs, ours = tf2_ros.Buffer(cache_time=Duration(seconds=100)), TransformBuffer(100.0)
    for link in LINKS:
        for seconds in np.arange(0.0, 10.01, 0.1):
            msg = TransformStamped()
            msg.header.frame_id, msg.child_frame_id = link[1], link[0]
            msg.header.stamp = stamp_msg(round(seconds * SECOND))
            t, q = pose_at(link, seconds)
            p, r = msg.transform.translation, msg.transform.rotation
            p.x, p.y, p.z = (float(v) for v in t)
            r.x, r.y, r.z, r.w = (float(v) for v in q)
            theirs.set_transform(msg, "test")
            ours.set_transform(msg)
    generator = np.random.default_rng(1)
    for _ in range(200):
        nanoseconds = int(generator.integers(0, 10 * SECOND))
        found = theirs.lookup_transform("map", "hand", Time(nanoseconds=nanoseconds)).transform
        t, q = found.translation, found.rotation
        np.testing.assert_allclose(
            ours.lookup("map", "hand", nanoseconds),
            matrix_from_pose((t.x, t.y, t.z), (q.x, q.y, q.z, q.w)), atol=1e-9,
        )


def test_outside_the_samples_is_an_error_that_says_by_how_much(buffer):
    with pytest.raises(TransformError, match=r"0\.500 s after the newest"):
        buffer.lookup("map", "odom", round(10.5 * SECOND))
    with pytest.raises(TransformError, match=r"1\.000 s before the oldest"):
        buffer.lookup("map", "odom", -SECOND)


def test_unconnected_frames_name_both_trees(buffer):
    with pytest.raises(TransformError, match="'nowhere' to 'map'"):
        buffer.lookup("map", "nowhere", SECOND)


def test_static_transforms_hold_at_any_time():
    buffer = TransformBuffer()
    buffer.set("base", "camera", 0, (0.1, 0.0, 0.5), (0.0, 0.0, 0.0, 1.0), static=True)
    assert buffer.lookup("base", "camera", 99 * SECOND)[2, 3] == 0.5
    buffer.clear()
    assert buffer.lookup("base", "camera", 0)[0, 3] == 0.1


def test_leading_slashes_do_not_matter(buffer):
    np.testing.assert_array_equal(
        buffer.lookup("/map", "/base", SECOND), buffer.lookup("map", "base", SECOND))


def test_old_samples_are_forgotten():
    buffer = TransformBuffer(cache_s=1.0)
    for second in range(5):
        buffer.set("map", "base", second * SECOND, (float(second), 0, 0), (0, 0, 0, 1))
    with pytest.raises(TransformError):
        buffer.lookup("map", "base", SECOND)
    assert buffer.lookup("map", "base", 3 * SECOND)[0, 3] == 3.0


def test_loop_in_the_tree_is_an_error():
    buffer = TransformBuffer()
    buffer.set("a", "b", 0, (0, 0, 0), (0, 0, 0, 1))
    buffer.set("b", "a", 0, (0, 0, 0), (0, 0, 0, 1))
    with pytest.raises(TransformError, match="loop"):
        buffer.lookup("a", "b", 0)


@pytest.mark.parametrize(
    ("translation", "quaternion"),
    [((np.nan, 0, 0), (0, 0, 0, 1)), ((0, 0, 0), (0, 0, 0, 0)), ((0, 0, 0), (0, 0, np.inf, 1)),
     ((0, 0, 0), (0, 0, 0, 2))],
)
def test_what_is_no_pose_is_refused(translation, quaternion):
    buffer = TransformBuffer()
    with pytest.raises(InputError):
        buffer.set("map", "base", 0, translation, quaternion)
    with pytest.raises(TransformError):
        buffer.lookup("map", "base", 0)


def test_a_frame_is_not_its_own_parent():
    with pytest.raises(InputError, match="makes no sense"):
        TransformBuffer().set("base", "/base", 0, (0, 0, 0), (0, 0, 0, 1))


def test_quaternions_of_matrices_round_trip():
    generator = np.random.default_rng(2)
    for _ in range(200):
        q = generator.normal(size=4)
        q /= np.linalg.norm(q)
        found = quaternion_from_matrix(matrix_from_pose((0, 0, 0), tuple(q))[:3, :3])
        np.testing.assert_allclose(found * np.sign(found @ q), q, atol=1e-12)


def test_one_stamp_of_the_far_future_does_not_lock_out_what_comes():
    """And neither does a source that restarts its clock."""
    buffer = TransformBuffer(cache_s=10.0)
    still = ((1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    buffer.set("map", "camera", 2**31 * SECOND, *still)
    for seconds in (100, 101, 102):
        buffer.set("map", "camera", seconds * SECOND, *still)
    assert buffer.lookup("map", "camera", int(100.5 * SECOND))[0, 3] == 1.0


def test_stray_old_stamps_do_not_erase_what_is_known():
    """A stamp of 0, or a second computer whose clock is behind: tf2 drops these, too."""
    buffer = TransformBuffer(cache_s=10.0)
    for seconds in range(100, 110):
        buffer.set("map", "camera", seconds * SECOND, (float(seconds), 0, 0), (0, 0, 0, 1))
        buffer.set("map", "camera", (seconds - 60) * SECOND, (-1.0, 0, 0), (0, 0, 0, 1))
        buffer.set("map", "camera", 0, (-1.0, 0, 0), (0, 0, 0, 1))
    assert buffer.lookup("map", "camera", int(104.5 * SECOND))[0, 3] == 104.5


def test_poses_in_two_parents_are_not_mixed():
    buffer = TransformBuffer()
    buffer.set("a", "camera", 0, (0, 0, 0), (0, 0, 0, 1))
    buffer.set("b", "camera", SECOND, (10.0, 0, 0), (0, 0, 0, 1))
    with pytest.raises(TransformError):
        buffer.lookup("b", "camera", SECOND // 2)
    assert buffer.lookup("b", "camera", SECOND)[0, 3] == 10.0
