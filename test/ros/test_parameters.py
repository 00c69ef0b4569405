"""Live parameters, and what they change; stamps that jump back."""

from __future__ import annotations

import pytest
from rcl_interfaces.srv import DescribeParameters
from ros_harness import running
from std_srvs.srv import Trigger

from geopurify_ros.config import Config, settings


@pytest.fixture(scope="module")
def shared():
    with running() as harness:
        yield harness


@pytest.fixture
def harness(shared):
    shared.camera.said.clear()
    shared.node._reporter._last.clear()
    return shared


# --- parameters


def test_every_parameter_is_described_with_its_range_and_whether_it_may_change(harness):
    known = settings(Config())
    request = DescribeParameters.Request(names=list(known))
    described = harness.call(DescribeParameters, "describe_parameters", request).descriptors
    for (name, spec), found in zip(known.items(), described, strict=True):
        assert found.name == name
        assert found.description.startswith(spec.about)
        assert found.read_only is spec.at_start
        assert ("is configured" in found.additional_constraints) is not (
            spec.live or spec.at_start)
        if isinstance(spec.value, float):
            (limits,) = found.floating_point_range
            assert (limits.from_value, limits.to_value) == (spec.low, spec.high)
        elif type(spec.value) is int:
            (limits,) = found.integer_range
            assert (limits.from_value, limits.to_value) == (spec.low, spec.high)


@pytest.mark.parametrize(("name", "value", "reason"), [
    ("depth.max_m", 5000.0, "range"),
    ("depth.max_m", "far", "type"),
    ("depth.min_m", 9.0, "depth.min_m (9.0) must be below depth.max_m (5.0)"),
    ("query.negatives", ",", "query.negatives: "),
    ("time.on_jump_back", "panic", "expected one of continue, reset"),
    ("map.voxel_size_m", 0.1, "map.voxel_size_m is read when the node is configured: "),
    ("encoder.dtype", "float32", "encoder.dtype is read when the node is configured: "),
    ("lifecycle.autostart", False, "read-only"),
    ("no.such", 1, "undeclared"),
])
def test_a_bad_value_at_run_time_is_refused_with_the_reason(harness, name, value, reason):
    before = harness.node.config
    result = harness.set_parameter(name, value)
    assert not result.successful
    assert reason in result.reason
    assert harness.node.config == before
    harness.assert_alive()


def test_a_live_parameter_works_at_once(harness):
    harness.fuse()
    assert harness.set_parameter("depth.max_m", 1.5).successful  # the wall is at two metres
    received = harness.counts()["received"]
    harness.camera.send()
    harness.settle(received + 1)
    harness.wait_for_warning("no depth between")
    assert harness.set_parameter("depth.max_m", 5.0).successful
    harness.assert_alive()


def test_the_active_query_follows_its_parameters(harness):
    harness.fuse()
    assert harness.ask("red").results[0].found
    harness.camera.results.clear()
    assert harness.set_parameter("query.min_voxels", 1_000_000).successful
    harness.wait(lambda: bool(harness.camera.results), "a new answer")
    assert not harness.camera.results[-1].results[0].found
    assert harness.set_parameter("query.min_voxels", 8).successful
    assert harness.set_parameter("query.threshold", 0.9).successful
    assert harness.set_parameter("query.max_prompts", 1).successful  # negatives do not count
    assert harness.set_parameter("query.negatives", "green").successful
    assert harness.node.worker.query.threshold == 0.9
    assert harness.node.worker.query.negatives == ("green",)
    assert harness.node.worker.query.prompts == ("red",)


def test_purification_follows_its_period(harness):
    harness.fuse()
    before = harness.node.worker.pipeline.num_purifications
    assert harness.set_parameter("purify.period_s", 0.1).successful
    harness.wait(
        lambda: harness.node.worker.pipeline.num_purifications > before, "a purification")
    assert harness.set_parameter("purify.period_s", 0.0).successful


# --- time


@pytest.mark.parametrize("on_jump_back", ["continue", "reset"])
def test_stamps_that_jump_back_are_told_and_obeyed(harness, on_jump_back):
    """A looping bag."""
    assert harness.set_parameter("time.on_jump_back", on_jump_back).successful
    harness.fuse(3)
    voxels = len(harness.node.worker.pipeline.map)
    received, newest = harness.counts()["received"], harness.camera.stamp_ns
    harness.camera.stamp_ns -= 500_000_000_000
    harness.camera.send()
    assert harness.settle(received + 1)["dropped.stamp_backwards"] >= 1
    kept = {"continue": "the map is kept", "reset": "the map is emptied"}[on_jump_back]
    harness.wait_for_warning("/geopurify/rgb/image", "restarted", kept)
    if on_jump_back == "reset":
        harness.wait(lambda: len(harness.node.worker.pipeline.map) == 0, "the empty map")
    else:
        assert len(harness.node.worker.pipeline.map) == voxels
    harness.assert_alive()
    harness.camera.stamp_ns = newest


def test_reset_empties_the_map_and_mapping_goes_on(harness):
    harness.fuse(2)
    response = harness.call(Trigger, "reset", Trigger.Request())
    assert response.success, response.message
    assert len(harness.node.worker.pipeline.map) == 0
    harness.wait(lambda: harness.camera.clouds["map_cloud"].width == 0, "an empty cloud")
    harness.assert_alive()
