"""The flat that purification is measured in: rooms in a row, and views of the first one."""

import pytest
import torch

from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.evaluate.bench import flat
from geopurify_ros.evaluate.bench.oracle import RANK, oracle_pipeline
from geopurify_ros.evaluate.bench.timing import Clock

CLOCK = Clock(torch.device("cpu"))


def filled(num_voxels):
    pipeline, oracle, _ = oracle_pipeline(CLOCK)
    flat.fill(pipeline, oracle, num_voxels)
    return pipeline, oracle


def ordered(coords):
    x, y, z = coords.unbind(dim=1)
    return bool((torch.diff((x * 10_000 + y) * 10_000 + z) > 0).all())


def test_rooms_are_as_large_as_said_and_stand_side_by_side():
    first, second = (flat.furnished_room(number) for number in range(2))
    for room in (first, second):
        assert 15_000 < len(room) < 22_000
        assert ordered(room.coords)
        assert torch.allclose(room.normal.norm(dim=1), torch.ones(len(room)))
    assert first.coords[:, 0].max() < second.coords[:, 0].min()


def test_a_map_has_as_many_voxels_as_asked_and_the_first_room_is_always_the_same():
    small, large = (filled(size)[0].map for size in (21_000, 30_000))
    assert (len(small), len(large)) == (21_000, 30_000)
    assert torch.equal(small.coords()[:20_000], large.coords()[:20_000])
    assert torch.equal(small.features()[:20_000], large.features()[:20_000])


@pytest.mark.parametrize("number", [0, 24])
def test_a_keyframe_sees_6000_voxels_and_nearly_all_are_known(number):
    pipeline, oracle = filled(25_000)
    seen = flat.keyframe(oracle, number)
    assert len(seen.coords) == flat.SEEN_VOXELS
    assert ordered(seen.coords)
    before = pipeline.map.features()
    flat.fuse(pipeline, oracle, seen)
    num_new = len(pipeline.map) - len(before)
    assert 0 < num_new < 0.05 * flat.SEEN_VOXELS
    moved = (pipeline.map.features()[: len(before)] != before).any(dim=1)
    assert int(moved.sum()) == flat.SEEN_VOXELS - num_new


def test_features_lie_in_the_basis_and_mean_what_is_there():
    pipeline, oracle = filled(20_000)
    features, basis = pipeline.map.features(), oracle.basis
    assert basis.shape[1] == RANK
    assert torch.allclose(features @ basis @ basis.T, features, atol=1e-3)
    raw = pipeline.query(TextQuery(oracle.classes, (), 0.0)).pooled
    floor = pipeline.map.normals()[:, 2] > 0.9
    low = pipeline.map.coords()[:, 2] == 0
    assert (raw.label[floor & low] == 1).float().mean() > 0.7  # of raw features
    assert len(raw.label.unique()) > 4
