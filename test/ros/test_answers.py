"""What the node answers, over real DDS: pieces, boxes and reasons; and what it logs of that."""

from __future__ import annotations

import pytest
from ros_harness import NamingEncoder, running
from std_srvs.srv import Trigger

from geopurify_ros.msg import SemanticQuery
from geopurify_ros.srv import Query


class Monoglot(NamingEncoder):
    """Knows what is written in ASCII."""

    reads = "it reads ASCII"

    def unreadable(self, text):
        return () if text.isascii() else (text,)


@pytest.fixture(scope="module")
def shared():
    with running(encoder=Monoglot()) as harness:
        harness.fuse(2)
        yield harness


@pytest.fixture
def harness(shared):
    """Asked for nothing, and with nothing said."""
    shared.set_parameter("query.negatives", "auto")
    shared.node.worker.set_query(None)
    shared.wait(lambda: shared.node.worker._flags == set(), "the empty query")
    shared.camera.said.clear()
    shared.camera.told.clear()
    return shared


def purify(harness):
    """Purify, and wait for the answer of the active query after it."""
    harness.fuse()
    count = harness.node.worker.pipeline.num_purifications
    assert harness.call(Trigger, "purify", Trigger.Request()).success
    harness.wait(lambda: harness.camera.results[-1].num_purifications > count, "the answer")


def lines(harness):
    """What the log says of answers."""
    return [line for line in harness.camera.told if line.startswith(("red: ", "no "))]


def test_a_thing_has_a_box_and_a_reason_and_what_is_missing_has_one_too(harness):
    result = harness.ask("crimson, green")
    crimson, green = result.results
    assert result.calibrated
    assert (crimson.found, crimson.num_pieces, crimson.read_as) == (True, 1, "red")
    assert (crimson.otherwise, crimson.nearest, crimson.unreadable) == ("grey", "", "")
    assert crimson.score > 0.9
    low, at, high = crimson.box_min, crimson.best_position, crimson.box_max
    for axis in "xyz":
        assert getattr(low, axis) < getattr(at, axis) < getattr(high, axis)
    assert low.z <= 2.0 <= high.z  # the wall is there
    assert high.z - low.z <= 0.1 + 1e-6
    assert 2.0 < high.x - low.x < 3.0
    assert 1.4 < high.y - low.y < 1.9
    assert (green.found, green.num_voxels, green.num_pieces) == (False, 0, 0)
    assert (green.read_as, green.otherwise, green.nearest) == (
        "green", "", "crimson")  # as it was asked
    assert 0 <= green.nearest_score < 0.1
    assert (green.box_min.x, green.box_max.x, green.best_position.x) == (0, 0, 0)


def test_the_service_says_the_same(harness):
    response = harness.call(Query, "query", Query.Request(prompts=["red", "green"]))
    assert response.message == "1 of 2 prompts found"
    assert response.result.calibrated
    red, green = response.result.results
    assert red.box_max.z > 2
    assert green.nearest == "red"


def test_listed_negatives_give_scores_without_reasons(harness):
    request = Query.Request(prompts=["red", "green"], negatives=["grey"])
    result = harness.call(Query, "query", request).result
    assert not result.calibrated
    assert [one.found for one in result.results] == [True, False]
    assert [(one.otherwise, one.nearest) for one in result.results] == [("", ""), ("", "")]
    assert result.results[0].box_max.z > 2
    request.negatives = ["Auto"]  # against a parameter that lists some
    assert harness.set_parameter("query.negatives", "grey").successful
    assert harness.call(Query, "query", request).result.calibrated


def test_what_cannot_be_read_is_said_and_not_answered(harness):
    result = harness.ask("red, стул")
    red, chair = result.results
    assert (red.unreadable, chair.unreadable) == (
        "", "the encoder does not know 'стул'; it reads ASCII")
    assert (chair.found, chair.nearest) == (False, "")
    harness.wait_for_warning("query: the encoder does not know 'стул'")
    harness.wait(lambda: lines(harness), "the line")
    assert "стул" not in lines(harness)[0]


def test_the_log_says_what_is_found_once(harness):
    result = harness.ask("red, green")
    harness.wait(lambda: lines(harness), "the line")
    voxels = result.results[0].num_voxels
    score = result.results[1].nearest_score
    assert lines(harness) == [
        f"red: {voxels} voxels in 1 piece, score {result.results[0].score:.2f}; no green; "
        f"nearest: red {score:.2f}"]
    purify(harness)
    purify(harness)
    assert harness.set_parameter("query.max_prompts", 9).successful  # changes no answer
    assert harness.ask("green").results
    harness.wait(lambda: len(lines(harness)) > 1, "the next line")
    assert lines(harness)[1:] == [f"no green; nearest: red {score:.2f}"]
    assert harness.set_parameter("query.min_voxels", 1_000_000).successful
    harness.ask("red")
    harness.wait(lambda: any(line.startswith("no red; nearest: ") for line in lines(harness)),
                 "no red")
    assert harness.set_parameter("query.min_voxels", 8).successful


def test_the_active_query_follows_its_parameters(harness):
    """From all that the encoder names to a list, and back; what a message gave stays."""
    def active():
        return harness.node.worker.query

    def answered_after(name, value):
        harness.camera.results.clear()
        assert harness.set_parameter(name, value).successful
        harness.wait(lambda: bool(harness.camera.results), f"an answer with {name} {value}")
        return harness.camera.results[-1]

    assert harness.ask("red").calibrated
    assert active().negatives is None
    assert not answered_after("query.negatives", "grey, red").calibrated
    assert active().negatives == ("grey",)
    assert answered_after("query.negatives", "auto").calibrated
    assert active().negatives is None
    assert not answered_after("query.min_voxels", 1_000_000).results[0].found
    assert answered_after("query.min_voxels", 8).results[0].found
    answered_after("query.threshold", 0.3)
    assert (active().threshold, active().min_voxels) == (0.3, 8)
    assert harness.set_parameter("query.threshold", 0.2).successful

    publisher = harness.camera.create_publisher(SemanticQuery, "semantic_query", 10)
    harness.wait(lambda: publisher.get_subscription_count() == 1, "discovery")
    publisher.publish(SemanticQuery(prompts=["red"], negatives=["blue"], threshold=0.5))
    harness.wait(lambda: active().negatives == ("blue",), "the query")
    answered_after("query.min_voxels", 9)
    assert (active().negatives, active().threshold, active().min_voxels) == (("blue",), 0.5, 9)
    assert harness.set_parameter("query.min_voxels", 8).successful
