"""Purification of anybody's points: the map's own result, and points that are hardly any."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import geopurify_ros as gp
from geopurify_ros.config import Config, with_values
from geopurify_ros.core.mapping.fusion import FeatureBags, FrameVoxels
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.core.purification.affinity import affinity_weights
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.pooling import pool_observations
from geopurify_ros.core.purification.scene import scene_of_map
from geopurify_ros.core.purification.scene_embeddings import joined_of, learnt_of
from geopurify_ros.data.student_file import geometry_student
from geopurify_ros.errors import CheckpointError, InputError

CONFIG = with_values(Config(), {"purify.iterations": 5})


def corner(num=3000, channels=3):
    """Floor and wall; points, values, colours, normals."""
    rng = np.random.default_rng(1)
    is_wall = rng.random(num) < 0.5
    along, across = rng.uniform(0, 1.5, num), rng.uniform(0, 1, num)
    points = np.stack((along, np.where(is_wall, 0, across), across * is_wall), axis=1)
    colors = np.where(is_wall[:, None], (200, 190, 170), (120, 90, 60))
    normals = np.where(is_wall[:, None], (0, 1, 0), (0, 0, 1))
    return points, rng.normal(size=(num, channels)).astype(np.float32), colors, normals


@pytest.mark.parametrize("embedding", ["student", "geometric"])
def test_one_point_per_voxel_gives_what_a_map_gives(embedding):
    """The same voxels in a map, whose features are half precision: 2e-3."""
    points, values, colors, normals = corner()
    coords, first = np.unique(np.floor(points / 0.05).astype(np.int64), axis=0, return_index=True)
    points, values = (coords + 0.5) * 0.05, values[first]
    colors, normals = colors[first], normals[first]
    config = with_values(CONFIG, {"purify.embedding": embedding})
    found = gp.purify_points(points, values, colors, normals, config=config)

    voxels = VoxelMap(3, 0.05)
    voxels.integrate(FrameVoxels(
        torch.from_numpy(coords), FeatureBags.of(torch.from_numpy(values)),
        torch.from_numpy(colors).float(), torch.from_numpy(normals).float(),
        torch.ones(len(coords))), 0)
    voxels.up_sum = torch.tensor([0, 0, 1.0], dtype=torch.float64)
    student = geometry_student(config.purify, 0.05)
    learnt = learnt_of(scene_of_map(voxels, voxels.up_sum), embedding, student)
    embeddings = joined_of(voxels.snapshot().attributes, learnt, student)
    graph = nearest_neighbors(voxels.index, voxels.coords(), config.purify.neighbors)
    affinity = affinity_weights(embeddings, graph, config.purify.affinity_scale)
    expected = pool_observations(voxels.features(), voxels.weights(), affinity, 5)
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-3)


def test_points_of_a_voxel_share_what_their_mean_becomes():
    """Ten points beside one: the voxel weighs as many points as it holds."""
    points = np.array([[0.01, 0.01, 0.01]] * 10 + [[0.06, 0.01, 0.01]])
    values = np.array([[float(i)] for i in range(10)] + [[20.0]])
    alike = np.full((11, 3), 100), np.tile((0, 0, 1.0), (11, 1))
    config = with_values(Config(), {"purify.iterations": 1, "purify.embedding": "geometric"})
    found = gp.purify_points(points, values, *alike, config=config)
    # two voxels whose only neighbour is the other: one round swaps them (zero diagonal, 1.9)
    np.testing.assert_allclose(found[:, 0], [20.0] * 10 + [4.5], rtol=1e-6)


def test_columns_do_not_know_each_other():
    points, values, colors, normals = corner(channels=130)  # more than are pooled at once
    together = gp.purify_points(points, values, colors, normals, config=CONFIG)
    alone = gp.purify_points(points, values[:, 100:101], colors, normals, config=CONFIG)
    np.testing.assert_allclose(together[:, 100:101], alone, atol=1e-5)


def test_positions_of_any_magnitude_give_the_same():
    """UTM: the lattice begins at the lowest point."""
    points, values, colors, normals = corner()
    points = np.round(points / 0.05) * 0.05 + 0.025
    points = np.concatenate((points, [[0.025, 0.025, 0.025]]))
    rows = [np.concatenate((a, a[:1])) for a in (values, colors, normals)]
    here = gp.purify_points(points, *rows, config=CONFIG)
    there = gp.purify_points(points + (500_000.0, 5_200_000.0, 100.0), *rows, config=CONFIG)
    np.testing.assert_array_equal(here, there)


def test_rows_that_are_not_finite_keep_their_values_and_reach_nobody():
    points, values, colors, normals = corner(400)
    bad_points, bad_values, bad_normals = points.copy(), values.copy(), normals.astype(float)
    bad_points[5], bad_values[7, 1], bad_normals[9] = np.nan, np.inf, np.nan
    found = gp.purify_points(bad_points, bad_values, colors, bad_normals, config=CONFIG)
    keep = np.delete(np.arange(400), [5, 7])
    np.testing.assert_array_equal(found[[5, 7]], bad_values[[5, 7]])
    normals = normals.astype(float)
    normals[9] = 0
    rest = gp.purify_points(*(a[keep] for a in (points, values, colors, normals)), config=CONFIG)
    np.testing.assert_array_equal(found[keep], rest)


def test_no_point_one_point_and_the_same_point_twice():
    assert gp.purify_points([], [], [], []).shape == (0, 0)
    assert gp.purify_points(*(np.zeros((0, n)) for n in (3, 5, 3, 3))).shape == (0, 5)
    one = [[1.0, 2.0, 3.0]], [[4.0, 5.0]], [[6, 7, 8]], [[0, 0, 1]]
    np.testing.assert_allclose(gp.purify_points(*one), one[1])
    twice = gp.purify_points(*(rows * 2 for rows in one))
    np.testing.assert_allclose(twice, one[1] * 2)
    nothing = gp.purify_points([[np.nan] * 3], [[1.0]], [[0, 0, 0]], [[0, 0, 0]])
    np.testing.assert_array_equal(nothing, [[1.0]])


def test_the_inputs_stay_as_they_are():
    given = corner(100)
    before = [array.copy() for array in given]
    gp.purify_points(*given, config=CONFIG)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_embedding_none_changes_nothing():
    points, values, colors, normals = corner(100)
    config = with_values(Config(), {"purify.embedding": "none"})
    found = gp.purify_points(points, values, colors, normals, config=config)
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(("change", "sentence"), [
    ({"points_m": [[1, 2]]}, r"points_m have shape \(1, 2\), expected \(N, 3\)"),
    ({"values": [1]}, r"values have shape \(1,\), expected \(1, C\)"),
    ({"colors": [[1, 2, 3]] * 2}, r"colors have shape \(2, 3\), expected \(1, 3\)"),
    ({"normals": [["up", 0, 0]]}, "normals are no numbers in rows"),
    ({"voxel_size_m": 0.0}, "voxel_size_m is 0.0, expected metres, more than 0"),
    ({"voxel_size_m": float("nan")}, "voxel_size_m is nan"),
])
def test_what_does_not_fit_is_refused_in_a_sentence(change, sentence):
    given = {"points_m": [[0, 0, 0]], "values": [[1]], "colors": [[1, 1, 1]],
             "normals": [[0, 0, 1]]}
    with pytest.raises(InputError, match=sentence):
        gp.purify_points(**{**given, **change})


def test_points_too_far_apart_for_the_voxels_are_refused():
    far = [[0, 0, 0], [2e5, 0, 0]]
    with pytest.raises(InputError, match=r"2e\+05 m apart, at most 1\.05e\+05 m"):
        gp.purify_points(far, [[1]] * 2, [[1, 1, 1]] * 2, [[0, 0, 1]] * 2)


def test_a_student_that_wants_features_is_refused():
    path = gp.__path__[0] + "/assets/student_builtin.safetensors"
    config = with_values(Config(), {"purify.student": path})
    with pytest.raises(CheckpointError, match="wants features of encoder builtin"):
        gp.purify_points(*corner(10), config=config)


def test_the_package_lends_what_it_lists():
    assert gp.purify_points.__module__ == "geopurify_ros.offline.points"
    for name in gp.__all__:
        assert getattr(gp, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'purify_boxes'"):
        _ = gp.purify_boxes
