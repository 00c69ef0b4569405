"""Clouds over real DDS: nothing for nobody, and who comes late gets what there is."""

from __future__ import annotations

import threading

import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_harness import running
from sensor_msgs.msg import PointCloud2
from topic_lists import count_packed

from geopurify_ros.ros.outputs.point_cloud2 import read_points

CLOUDS = ("labeled_cloud", "raw_labeled_cloud", "map_cloud")
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(scope="module")
def shared():
    with running() as harness:
        for subscription in list(harness.camera.subscriptions):
            if subscription.topic_name.endswith("_cloud"):
                harness.camera.destroy_subscription(subscription)
        yield harness


@pytest.fixture
def harness(shared):
    """With a map, and nobody who looks at clouds."""
    outputs = shared.node._outputs
    shared.wait(lambda: not (outputs.wants_map or outputs.wants_labels or outputs.wants_raw),
                "that nobody looks")
    shared.fuse(2)
    return shared


@pytest.fixture
def packed(monkeypatch):
    return count_packed(monkeypatch)


def listen(harness, topic):
    """A list of the clouds that come, and what ends it."""
    heard = []
    subscription = harness.camera.create_subscription(PointCloud2, topic, heard.append, LATCHED)
    return heard, lambda: harness.camera.destroy_subscription(subscription)


def let_pass(harness):
    """The worker has looked after the map: what was to be published then, is."""
    for _ in range(2):  # flags are served after the jobs that came with them
        done = threading.Event()
        harness.node.worker.request_map()
        assert harness.node.worker.call("nothing", lambda: None, lambda _, d=done: d.set())
        assert done.wait(60)


def is_labeled(heard, voxels, prompts):
    """The newest cloud has all voxels and the labels of so many prompts, all red."""
    if not heard or heard[-1].width != voxels:
        return False
    labels = read_points(heard[-1])["label"]
    return bool((labels == prompts).any()) and bool((labels <= prompts).all())


def test_nothing_is_packed_for_nobody_and_each_topic_has_its_late_subscriber(harness, packed):
    result = harness.ask("red")
    let_pass(harness)
    assert packed == []
    voxels = len(harness.node.worker.pipeline.map)
    assert result.num_points == result.num_voxels == voxels
    for topic in CLOUDS:
        heard, leave = listen(harness, topic)
        harness.wait(lambda heard=heard: heard and heard[-1].width == voxels, topic)
        if topic != "map_cloud":
            assert is_labeled(heard, voxels, 1)
        assert heard[-1].header.stamp == result.header.stamp
        leave()


def test_who_comes_back_sees_the_map_of_now(harness, packed):
    """Not for long that of when the last one left, which the topic still holds."""
    heard, leave = listen(harness, "map_cloud")
    harness.wait(lambda: heard, "a cloud")
    old = heard[-1].width
    leave()
    harness.wait(lambda: not harness.node._outputs.wants_map, "that nobody looks")
    packed.clear()
    harness.fuse(3)
    let_pass(harness)
    assert "map_cloud" not in packed
    voxels = len(harness.node.worker.pipeline.map)
    assert voxels > old
    heard, leave = listen(harness, "map_cloud")
    harness.wait(lambda: heard and heard[-1].width == voxels, "the new map")
    leave()


@pytest.mark.parametrize("topic", CLOUDS[:2])
def test_who_comes_back_sees_the_labels_of_now(harness, packed, topic):
    """Of the query of now and of a map that has grown since it was answered."""
    harness.ask("red")
    heard, leave = listen(harness, topic)
    harness.wait(lambda: heard, "a cloud")
    leave()
    harness.wait(lambda: not (harness.node._outputs.wants_labels
                              or harness.node._outputs.wants_raw), "that nobody looks")
    packed.clear()
    harness.ask("green, red")
    harness.fuse(2)
    let_pass(harness)
    assert "labeled_cloud" not in packed
    voxels = len(harness.node.worker.pipeline.map)
    heard, leave = listen(harness, topic)
    harness.wait(lambda: is_labeled(heard, voxels, 2), "the new labels")
    leave()


def test_who_comes_after_the_query_was_cleared_sees_no_labels(harness):
    harness.ask("red")
    heard, leave = listen(harness, "labeled_cloud")
    harness.wait(lambda: heard and read_points(heard[-1])["label"].any(), "labels")
    leave()
    harness.wait(lambda: not harness.node._outputs.wants_labels, "that nobody looks")
    harness.node.worker.set_query(None)
    harness.fuse(2)
    voxels = len(harness.node.worker.pipeline.map)
    heard, leave = listen(harness, "labeled_cloud")
    harness.wait(lambda: heard and heard[-1].width == voxels
                 and not read_points(heard[-1])["label"].any(), "a cloud without labels")
    leave()


def test_fewer_points_by_a_live_parameter(harness):
    """The clouds follow it at once, and the result and the log say so."""
    heard, leave = listen(harness, "labeled_cloud")
    harness.ask("red")
    harness.wait(lambda: heard, "a cloud")
    assert harness.set_parameter("output.max_points", 100).successful
    harness.wait(lambda: heard[-1].width == 100, "a small cloud")
    result = harness.ask("red, green")
    assert (result.num_points, result.num_voxels) == (
        100, len(harness.node.worker.pipeline.map))
    harness.wait(lambda: any("100 nearest" in line for line in harness.camera.told), "the line")
    assert harness.set_parameter("output.max_points", 0).successful
    harness.wait(lambda: heard[-1].width == result.num_voxels, "a whole cloud")
    leave()
