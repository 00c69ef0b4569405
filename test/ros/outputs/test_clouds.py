"""Clouds: equal to packing point by point, packed once, the nearest points where they are many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from box_room import ASKED, FRAMES, map_frames
from std_msgs.msg import Header
from topic_lists import Topics, count_packed

from geopurify_ros.config import with_values
from geopurify_ros.core.answers.answer import Answer
from geopurify_ros.core.answers.query import VoxelLabels
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.ros.outputs import clouds, kept_points
from geopurify_ros.ros.outputs.kept_points import KeptPoints
from geopurify_ros.ros.outputs.point_cloud2 import read_points
from geopurify_ros.ros.outputs.publishers import Outputs
from geopurify_ros.ros.tools.bench_clouds import plain_pack

CLOUDS = ("labeled_cloud", "raw_labeled_cloud", "map_cloud")


def colors_of(voxels):
    return voxels.colors().round().clamp(0, 255).byte().numpy()


def assert_packed_well(points, voxels, rng):
    """Bytes of both clouds as point by point from the map."""
    count = len(voxels)
    label, score = rng.integers(0, 4, count), rng.random(count, dtype=np.float32)
    centers, rgb = voxels.centers_m().numpy(), colors_of(voxels)
    labeled = clouds.labeled_cloud(Header(), points, label, score)
    assert bytes(labeled.data) == plain_pack(centers, rgb, label, score)
    plain = read_points(clouds.map_cloud(Header(), points))
    np.testing.assert_array_equal(
        np.stack([plain[axis] for axis in "xyz"], axis=1), centers.astype(np.float32))
    packed = plain["rgb"].copy().view(np.uint32)
    np.testing.assert_array_equal(packed, rgb.astype(np.uint32) @ [1 << 16, 1 << 8, 1])


def test_kept_points_equal_packing_from_scratch():
    """Frames, removals and other maps in any order, some of them between two publications."""
    rng, kept, pipeline = np.random.default_rng(3), KeptPoints(), map_frames([])
    assert_packed_well(kept.of(pipeline.map), pipeline.map, rng)
    for step in range(24):
        match rng.integers(0, 6):
            case 0 | 1 | 2:
                pipeline.integrate(FRAMES[rng.integers(0, len(FRAMES))])
            case 3 | 4:
                gone = rng.permutation(len(pipeline.map))[: rng.integers(0, 300)]
                pipeline.remove(torch.from_numpy(gone))
            case 5 if step % 3 == 0:
                pipeline.replace_map(VoxelMap.from_state(pipeline.map.state(), 0.05))
        if rng.random() < 0.6:
            assert_packed_well(kept.of(pipeline.map), pipeline.map, rng)


def test_a_map_that_is_emptied_and_filled_again_is_another_one():
    """Its version may be the same."""
    kept, pipeline, rng = KeptPoints(), map_frames(FRAMES[:1]), np.random.default_rng(0)
    kept.of(pipeline.map)
    pipeline.reset()
    pipeline.integrate(FRAMES[4])
    assert_packed_well(kept.of(pipeline.map), pipeline.map, rng)


def test_only_what_changed_is_packed(monkeypatch):
    packed = []
    monkeypatch.setattr(kept_points, "map_points", lambda centers, rgb: (
        packed.append(len(centers)), clouds.map_points(centers, rgb))[1])
    kept, pipeline = KeptPoints(), map_frames(FRAMES[:3])
    kept.of(pipeline.map)
    kept.of(pipeline.map)
    assert packed == [len(pipeline.map)]
    before = pipeline.map.version
    pipeline.integrate(FRAMES[3])
    kept.of(pipeline.map)
    assert packed[1:] == [int((pipeline.map.changed_at() > before).sum())]
    assert packed[1] < packed[0]


@pytest.fixture
def pipeline():
    made = map_frames(FRAMES[:3])
    made.purify()
    return made


def test_nothing_is_packed_for_nobody_and_who_comes_late_gets_it(pipeline, monkeypatch):
    made, topics, calls = count_packed(monkeypatch), Topics(), []
    monkeypatch.setattr(kept_points, "map_points", lambda *_: pytest.fail("packed for nobody"))
    outputs = Outputs(topics, "map")
    outputs.on_match = lambda: calls.append("match")
    answer = pipeline.query(ASKED)
    outputs.map_changed(pipeline, 5)
    outputs.answered(pipeline, ASKED, answer, 5)
    outputs.catch_up(pipeline, 5)
    wanted = (outputs.wants_map, outputs.wants_labels, outputs.wants_raw, outputs.lacks_labels)
    assert not any(wanted)
    assert made == []
    assert topics.counts() == {**dict.fromkeys(CLOUDS, 0), "query_result": 1}
    monkeypatch.undo()

    made = count_packed(monkeypatch)
    for done, name in enumerate(CLOUDS, start=1):
        topics.newcomer(name)
        assert len(calls) == done
        for _ in range(2):  # the second time there is nothing to do
            outputs.catch_up(pipeline, 5)
        assert len(made) == done
        cloud, = topics.sent[name]
        assert cloud.width == len(pipeline.map)
        assert (cloud.header.frame_id, cloud.header.stamp.nanosec) == ("map", 5)
    assert outputs.wants_map
    assert outputs.wants_labels


def test_the_same_cloud_is_packed_once(pipeline, monkeypatch):
    made, topics = count_packed(monkeypatch), Topics(**dict.fromkeys(CLOUDS, 1))
    outputs, answer = Outputs(topics, "map"), pipeline.query(ASKED)
    for _ in range(2):
        outputs.map_changed(pipeline, 5)
        outputs.answered(pipeline, ASKED, answer, 5)
    assert sorted(made) == ["labeled_cloud", "labeled_cloud", "map_cloud"]
    outputs.answered(pipeline, ASKED, pipeline.query(ASKED), 5)
    pipeline.integrate(FRAMES[5])
    outputs.map_changed(pipeline, 6)
    assert len(made) == 6


def test_who_comes_gets_the_map_of_now_once(pipeline, monkeypatch):
    """Not that of when it was offered, and not again when the worker offers it."""
    made, topics = count_packed(monkeypatch), Topics()
    outputs = Outputs(topics, "map")
    outputs.map_changed(pipeline, 5)
    pipeline.integrate(FRAMES[5])
    topics.newcomer("map_cloud")
    outputs.catch_up(pipeline, 6)
    outputs.map_changed(pipeline, 6)
    assert made == ["map_cloud"]
    assert topics.sent["map_cloud"][0].width == len(pipeline.map)


def test_labels_of_an_older_map_are_to_be_made_anew(pipeline):
    topics = Topics()
    outputs = Outputs(topics, "map")
    topics.newcomer("labeled_cloud")
    assert not outputs.lacks_labels  # nobody has asked anything
    topics.newcomer("labeled_cloud", -1)
    outputs.answered(pipeline, ASKED, pipeline.query(ASKED), 5)
    pipeline.integrate(FRAMES[5])
    topics.newcomer("labeled_cloud")
    outputs.catch_up(pipeline, 6)
    assert topics.sent["labeled_cloud"] == []
    assert outputs.lacks_labels
    outputs.answered(pipeline, ASKED, pipeline.query(ASKED), 6)
    assert topics.sent["labeled_cloud"][0].width == len(pipeline.map)
    assert not outputs.lacks_labels


def test_raw_labels_that_were_not_made_are_lacking(pipeline):
    topics, answer = Topics(), pipeline.query(ASKED)
    outputs = Outputs(topics, "map")
    outputs.answered(pipeline, ASKED, replace(answer, raw=None), 5)
    topics.newcomer("raw_labeled_cloud")
    outputs.catch_up(pipeline, 5)
    assert outputs.lacks_labels
    outputs.answered(pipeline, ASKED, answer, 5)
    assert len(topics.sent["raw_labeled_cloud"]) == 1
    assert not outputs.lacks_labels


@pytest.mark.parametrize("camera_m", [np.array([0.8, 0.5, -0.3]), None])
def test_too_many_points_leave_the_nearest_and_it_is_said(pipeline, camera_m):
    most, topics = 500, Topics(**dict.fromkeys(CLOUDS, 1))
    pipeline.config = with_values(pipeline.config, {"output.max_points": most})
    outputs = Outputs(topics, "map")
    outputs.camera_m = camera_m
    count = len(pipeline.map)
    numbers = torch.arange(count)  # labels that name their rows
    labels = VoxelLabels(numbers, torch.rand(count))
    outputs.map_changed(pipeline, 5)
    outputs.answered(pipeline, ASKED, Answer(labels, labels), 5)
    points = read_points(topics.sent["labeled_cloud"][0])
    rows = points["label"].astype(np.int64)
    assert len(rows) == topics.sent["query_result"][0].num_points == most < count
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(points["score"], labels.score.numpy()[rows])
    centers = pipeline.map.centers_m().numpy()
    for axis, name in enumerate("xyz"):
        np.testing.assert_array_equal(points[name], centers[rows, axis].astype(np.float32))
    if camera_m is None:
        np.testing.assert_array_equal(rows, np.arange(most))
    else:
        distance = np.linalg.norm(centers - camera_m, axis=1)
        assert distance[rows].max() <= np.delete(distance, rows).min() + 1e-5
    assert [topics.sent[name][0].width for name in CLOUDS] == [most] * 3
    said = [line for line in topics.log if "output.max_points" in line]
    assert said == [f"the map has {count} voxels, clouds have the {most} nearest to the camera: "
                    "output.max_points"]


def test_another_limit_is_another_cloud(pipeline):
    """Without a change of the map or of the answer."""
    topics = Topics(labeled_cloud=1)
    outputs = Outputs(topics, "map")
    outputs.answered(pipeline, ASKED, pipeline.query(ASKED), 5)
    for most in (100, 0):
        pipeline.config = with_values(pipeline.config, {"output.max_points": most})
        outputs.catch_up(pipeline, 5)
        outputs.catch_up(pipeline, 5)
    widths = [cloud.width for cloud in topics.sent["labeled_cloud"]]
    assert widths == [len(pipeline.map), 100, len(pipeline.map)]
