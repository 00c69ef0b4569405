"""A map as a student sees it: features in chunks, heights above a floor (METHODS 1.13 B1, 6.2)."""

import dataclasses

import pytest
import torch
from torch.nn.functional import normalize

from geopurify_ros.core.purification import scene as module
from geopurify_ros.core.purification.scene import (
    VoxelScene,
    floor_of,
    geometry_channels,
    height_m,
    inputs_of,
    student_input,
)
from geopurify_ros.core.purification.sparse_conv import index_of, submanifold_map

UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def box(count=200, chunks=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    every = torch.cartesian_prod(*3 * (torch.arange(8),))
    coords = every[torch.randperm(len(every), generator=generator)[:count]]
    features = torch.randn((count, 6), generator=generator).half()
    return VoxelScene(
        index_of(coords), coords, features.chunk(chunks),
        255 * torch.rand((count, 3), generator=generator),
        normalize(torch.randn((count, 3), generator=generator), dim=1), UP, 0.05)


@pytest.mark.parametrize("kind", ["features", "geometry"])
@pytest.mark.parametrize("at_once", [7, 1024])
def test_input_of_some_rows_is_read_from_the_chunks_they_lie_in(kind, at_once, monkeypatch):
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", at_once)
    scene = box()
    taps = submanifold_map(scene.index, scene.coords)
    whole = student_input(scene.features, geometry_channels(scene, taps, kind), kind)
    rows = torch.randperm(len(scene))[:90]
    occupied = ((taps.taps < len(scene)).sum(dim=1) - 1.0)[rows]
    found = torch.full((len(rows), whole.shape[1]), torch.nan)
    for which, values in inputs_of(scene, rows, occupied, kind):
        assert len(which) <= at_once
        found[which] = values
    assert torch.equal(found, whole[rows])


def test_features_of_one_chunk_are_not_copied():
    scene = box(chunks=1)
    assert scene.features.data_ptr() == scene.chunks[0].data_ptr()
    assert torch.equal(box(chunks=3).features, scene.features)
    assert scene.feature_dim == 6


def test_the_floor_is_where_the_scene_says_or_under_its_lowest_voxels():
    scene = box()
    assert floor_of(scene) == pytest.approx(0.0)
    known = dataclasses.replace(scene, floor_m=-0.1)
    assert floor_of(known) == -0.1
    expected = (scene.coords[:, 2] * 0.05 + 0.1).to(torch.float32)
    torch.testing.assert_close(height_m(known), expected)
    rows = torch.tensor([5, 150, 2])
    assert torch.equal(height_m(known, rows), height_m(known)[rows])


def test_the_floor_of_nothing_is_at_the_origin():
    assert floor_of(box(count=0)) == 0.0
    assert height_m(box(count=0)).shape == (0,)
