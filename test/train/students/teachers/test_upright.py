"""Scenes upright: what is level becomes level, and no voxel is lost."""

import dataclasses

import pytest
import torch
from train_scenes import box_scene

from geopurify_ros.core.purification.scene import height_m
from geopurify_ros.core.purification.sparse_conv import index_of
from geopurify_ros.train.students.teachers.upright import (
    plumb,
    random_turn,
    rotation_to_z,
    upright_scene,
)

Z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def unit(x, y, z):
    return torch.nn.functional.normalize(torch.tensor([x, y, z], dtype=torch.float64), dim=0)


def turned(scene, turn):
    """The scene in a world turned by (3, 3) float64, on that world's lattice."""
    coords = (scene.coords.double() @ turn.T).round().to(torch.int64)
    coords, rows = torch.unique(coords, dim=0, return_inverse=True)
    first = torch.tensor([int((rows == k).nonzero()[0]) for k in range(len(coords))])
    return dataclasses.replace(
        scene, index=index_of(coords), coords=coords, chunks=(scene.features[first],),
        color=scene.color[first], normal=scene.normal[first] @ turn.T.float(), up=turn @ scene.up)


@pytest.mark.parametrize("up", [(0, 0, 1), (0, 0, -1), (1, 0, 0), (0, -1, 0), (1, 2, 3),
                                (0.01, 0, -1), (-1, 0.4, -2)])
def test_the_rotation_takes_up_to_z(up):
    turn = rotation_to_z(unit(*up))
    assert torch.allclose(turn @ turn.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert float(torch.linalg.det(turn)) == pytest.approx(1.0)
    assert float((turn @ unit(*up)) @ Z) > 0.996  # 5 degrees, where the axis itself was taken
    if max(abs(unit(*up))) < 0.99:
        assert torch.allclose(turn @ unit(*up), Z, atol=1e-12)


def test_plumb_is_what_the_level_surfaces_say():
    scene = box_scene().voxels
    leaning = dataclasses.replace(scene, up=unit(0.2, 0.1, 1.0))  # 13 degrees
    assert float(plumb(leaning) @ Z) > 0.9999
    bare = dataclasses.replace(leaning, normal=torch.zeros_like(scene.normal))
    assert torch.equal(plumb(bare), leaning.up)  # nothing is level: the map's own


def test_along_an_axis_no_voxel_moves_against_another():
    scene = box_scene().voxels
    turn = rotation_to_z(unit(1, 0, 0)).T
    upright, row, _ = upright_scene(turned(scene, turn))
    assert len(upright) == len(scene)
    assert torch.equal(upright.up, Z)
    assert upright.features.shape == (len(scene), 0)
    seen = turned(scene, turn)
    assert torch.equal(upright.coords[row], (seen.coords.double() @ turn).round().long())
    assert torch.allclose(upright.normal[row], seen.normal @ turn.float(), atol=1e-6)
    assert torch.equal(upright.color[row], seen.color)
    assert torch.equal(upright.index.lookup(upright.coords), torch.arange(len(upright)))


def test_aslant_every_voxel_has_a_row_within_half_a_cell():
    scene = turned(box_scene().voxels, rotation_to_z(unit(1, 2, 3)).T)
    upright, row, kept = upright_scene(scene)
    assert torch.equal(row[kept], torch.arange(len(upright)))
    assert torch.equal(upright.color, scene.color[kept])
    assert len(torch.unique(upright.coords, dim=0)) == len(upright) <= len(scene)
    exact = scene.coords.double() @ rotation_to_z(plumb(scene)).T
    assert float((upright.coords[row] - exact).abs().max()) <= 0.5
    apart = (height_m(upright)[row] - height_m(dataclasses.replace(scene, up=plumb(scene)))).abs()
    assert float(apart.max()) < 2 * scene.voxel_size_m


def test_random_turns_are_the_eight_that_keep_z():
    found = {tuple(random_turn(torch.Generator().manual_seed(s)).flatten().tolist())
             for s in range(200)}
    assert len(found) == 8
    assert all(turn[2::3] == (0.0, 0.0, 1.0) and turn[6:8] == (0.0, 0.0) for turn in found)
