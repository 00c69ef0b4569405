"""What is wrong, in one sentence: the judgements by themselves, without a graph."""

from __future__ import annotations

import pytest

from geopurify_ros.ros.inputs.subscription import Publisher, TopicView, is_even
from geopurify_ros.ros.outputs import faults

SECOND = 1_000_000_000
CAMERA = (Publisher("/camera", "sensor_msgs/msg/Image", False),)


def view(topic, **changed) -> TopicView:
    values = {
        "name": "images", "argument": "rgb", "parameter": "qos.rgb", "topic": topic,
        "type": "sensor_msgs/msg/Image", "is_reliable": False, "publishers": CAMERA,
        "received": 100, "last_stamp_ns": 50 * SECOND, "silent_s": 0.0, **changed,
    }
    return TopicView(**values)


RGB, DEPTH = view("/rgb"), view("/depth")


def test_streams_of_different_rates_are_judged_by_the_slower_one():
    """Colour at 30 Hz, depth at 6: every depth image finds its partner."""
    assert faults.sync_fault(RGB, DEPTH, pairs=30, lately=(150, 30)) is None
    assert faults.sync_fault(RGB, DEPTH, pairs=30, lately=(30, 150)) is None
    fault = faults.sync_fault(RGB, DEPTH, pairs=10, lately=(150, 30))
    assert "20 of 30 images found no partner on /depth" in fault.sentence
    assert "raise sync.slop_s" in fault.sentence


def test_partners_without_a_stamp_are_named():
    fault = faults.sync_fault(RGB, view("/depth", last_stamp_ns=0), 0, (50, 50))
    assert fault.subject == "/depth"
    assert "are zero" in fault.sentence


def test_partners_of_another_clock_are_named():
    fault = faults.sync_fault(RGB, view("/depth", last_stamp_ns=10**18), 0, (50, 50))
    assert "different clocks" in fault.sentence


@pytest.mark.parametrize(("stamps", "even"), [
    ([k * SECOND // 6 for k in range(30)], True),
    ([k * SECOND // 6 + (k % 3) * 1_000_000 for k in range(30)], True),  # jitter
    ([k * SECOND // 30 for k in range(150) if (k * 7919) % 11 < 4], False),  # losses
    ([0, 1, 2], False),  # too few to tell
])
def test_a_slow_stream_is_even_and_one_with_losses_is_not(stamps, even):
    assert is_even(stamps[-30:]) is even


def test_slow_depth_is_not_lost_depth():
    slow, lossy = view("/depth", is_even=True), view("/depth", is_even=False)
    assert faults.transport_fault(slow, 30, 150, is_own_info=False) is None
    assert "only 30 of 150" in faults.transport_fault(lossy, 30, 150, False).sentence
    assert faults.transport_fault(slow, 30, 150, is_own_info=True) is not None


@pytest.mark.parametrize(
    ("busy", "fused", "told"), [(25, 17, True), (4, 0, False), (8, 30, False)]
)
def test_a_large_busy_share_is_a_warning(busy, fused, told):
    fault = faults.busy_fault(busy, fused, 84.0)
    assert (fault is not None) is told
    if told:
        assert fault.level == faults.WARN
        assert f"{busy} of {busy + fused} keyframes" in fault.sentence
        assert "84 ms" in fault.sentence


def test_nobody_publishes_the_transforms_of_the_node():
    fault = faults.tf_fault("/robot/tf", [])
    assert (fault.subject, fault.level) == ("/robot/tf", faults.ERROR)
    assert "nobody publishes it" in fault.sentence
    assert faults.tf_fault("/tf", [Publisher("/slam", "t", True)]) is None
    assert "/slam publishes best effort" in faults.tf_fault("/tf", [Publisher("/slam", "t", False)]
                                                            ).sentence


def test_images_that_wait_for_depth_are_no_failure_of_the_map():
    assert faults.drop_fault(11, 0, {"unpaired": 8}) is None
    assert "bad_input 7" in faults.drop_fault(11, 0, {"bad_input": 7}).sentence


def test_a_second_node_of_the_same_name_is_named():
    assert faults.twin_fault("/geopurify/mapping", 1) is None
    fault = faults.twin_fault("/geopurify/mapping", 2)
    assert "2 nodes have this name" in fault.sentence
    assert "namespace:=" in fault.sentence


def test_each_fault_has_a_value_of_its_own():
    told = [faults.Fault(faults.WARN, t, "k", f"{t} is odd") for t in ("/a", "/b")]
    values = faults.fault_values(faults.Status("inputs", faults=told))
    assert values == {"fault.1": "/a: /a is odd", "fault.2": "/b: /b is odd"}
