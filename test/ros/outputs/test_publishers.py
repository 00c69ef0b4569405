"""What is published of an answer, without a graph: raw labels where somebody listens."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from box_room import ASKED, FRAMES, SIDES, Oracle, map_frames

from geopurify_ros.ros.outputs.publishers import Outputs


class NamingOracle(Oracle):
    """Its gate is decided once, so that a query needs no raw labels."""

    vocabulary = SIDES


class Topics:
    """A node whose topics are lists."""

    def __init__(self):
        self.sent, self.listeners = {}, {}

    def create_publisher(self, _type, name, _qos):
        sent = self.sent.setdefault(name, [])
        return SimpleNamespace(
            publish=sent.append, get_subscription_count=lambda: self.listeners.get(name, 0))


@pytest.fixture
def pipeline():
    made = map_frames(FRAMES[:4], encoder=NamingOracle())
    made.purify()
    return made


@pytest.mark.parametrize("listeners", [0, 1])
def test_raw_labels_are_published_where_somebody_listens(pipeline, listeners):
    topics = Topics()
    outputs = Outputs(topics, "map", 1)
    topics.listeners["raw_labeled_cloud"] = listeners
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
    topics = Topics()
    Outputs(topics, "map", 1).cleared(pipeline, 5)
    assert {name: len(sent) for name, sent in topics.sent.items()} == {
        "labeled_cloud": 1, "raw_labeled_cloud": 1, "map_cloud": 0, "query_result": 1}
