"""What is published of an answer, without a graph: raw labels where somebody listens."""

from __future__ import annotations

import numpy as np
import pytest
from box_room import ASKED, FRAMES, SIDES, VOXEL_M, Oracle, map_frames
from topic_lists import Topics

from geopurify_ros.core.answers.pieces import connected_pieces
from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.ros.outputs.publishers import Outputs


class NamingOracle(Oracle):
    """Its gate is decided once, so that a query needs no raw labels."""

    vocabulary = SIDES


def xyz(point):
    return point.x, point.y, point.z


@pytest.fixture
def pipeline():
    made = map_frames(FRAMES[:4], encoder=NamingOracle())
    made.purify()
    return made


@pytest.mark.parametrize("listeners", [0, 1])
def test_raw_labels_are_published_where_somebody_listens(pipeline, listeners):
    topics = Topics(labeled_cloud=1, raw_labeled_cloud=listeners)
    outputs = Outputs(topics, "map")
    assert outputs.wants_raw == bool(listeners)
    answer = pipeline.query(ASKED, with_raw=outputs.wants_raw)
    outputs.answered(pipeline, ASKED, answer, 5)
    assert len(topics.sent["raw_labeled_cloud"]) == listeners
    assert len(topics.sent["labeled_cloud"]) == 1
    result, = topics.sent["query_result"]
    assert (result.changed_fraction > 0) == bool(listeners)
    assert any(one.num_voxels_raw for one in result.results) == bool(listeners)
    assert sum(one.num_voxels for one in result.results) == len(pipeline.map)


def test_who_stops_asking_gets_clouds_without_labels(pipeline):
    topics = Topics(labeled_cloud=1, raw_labeled_cloud=1)
    Outputs(topics, "map").cleared(pipeline, 5)
    assert topics.counts() == {
        "labeled_cloud": 1, "raw_labeled_cloud": 1, "map_cloud": 0, "query_result": 1}
    assert topics.sent["query_result"][0].results == []
    assert topics.log == []


def test_a_thing_is_told_with_its_pieces_and_box(pipeline):
    """The floor and the ceiling of the box, which five frames of a corner see."""
    asked = TextQuery(("floor", "ceiling"), None, 0.2, 8)
    topics = Topics()
    answer = pipeline.query(asked)
    Outputs(topics, "odom").answered(pipeline, asked, answer, 5)
    result, = topics.sent["query_result"]
    assert result.header.frame_id == "odom"
    assert not result.calibrated  # the oracle has names, and nobody calibrated it
    for label, one in enumerate(result.results, start=1):
        mine = answer.purified.label == label
        coords = pipeline.map.coords()[mine]
        piece = connected_pieces(coords)
        largest = pipeline.map.centers_m()[mine][piece == 0]
        assert one.found
        assert one.read_as == one.prompt
        assert one.num_voxels == mine.sum()
        assert one.num_pieces == piece.max() + 1
        assert one.otherwise in set(SIDES) - {one.prompt}
        assert (one.nearest, one.nearest_score) == ("", 0.0)
        score = answer.purified.score[mine][piece == 0].mean()
        assert one.score == pytest.approx(float(score))
        low, high = xyz(one.box_min), xyz(one.box_max)
        assert np.allclose(low, largest.numpy().min(axis=0) - VOXEL_M / 2)
        assert np.allclose(high, largest.numpy().max(axis=0) + VOXEL_M / 2)
        assert np.isclose(largest.numpy(), xyz(one.best_position)).all(axis=1).any()


def test_what_is_not_there_is_told_with_what_is(pipeline):
    asked = TextQuery(("floor",), None, 0.2, 1_000_000)  # no room has as many
    topics = Topics()
    Outputs(topics, "map").answered(pipeline, asked, pipeline.query(asked), 5)
    one, = topics.sent["query_result"][0].results
    assert not one.found
    assert (one.score, one.otherwise) == (0.0, "")
    assert one.nearest
    assert one.nearest_score > 0
    assert xyz(one.box_min) == xyz(one.box_max) == xyz(one.best_position) == (0, 0, 0)
    assert topics.log == [f"no floor; nearest: {one.nearest} {one.nearest_score:.2f}"]
