"""Embeddings of some voxels are those of the whole map, and cost what they need (METHODS 6.2)."""

import dataclasses

import pytest
import torch
from surface_scenes import D, input_of, student, surface

from geopurify_ros.core.purification import tap_order as order_module
from geopurify_ros.core.purification.scene import VoxelScene, floor_of
from geopurify_ros.core.purification.sparse_conv import index_of, submanifold_map
from geopurify_ros.core.purification.student import SMALL, StudentShape

SHAPES = {
    "shipped": SMALL,
    "geometry": StudentShape(input="geometry", hidden=16, blocks=2),
    "paper": StudentShape(hidden=16, blocks=1, stem="conv", norm="batch", with_soft=False),
}


def net_of(name):
    """A network whose statistics and norms are not what they begin as."""
    net = student(SHAPES[name])
    channels = len(net.mean)
    net.set_statistics(torch.linspace(-0.3, 0.5, channels), torch.linspace(0.5, 2.0, channels))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net


def around(scene, rows, reach):
    """Rows within `reach` voxels of some rows, along every axis."""
    distance = (scene.coords[:, None] - scene.coords[rows]).abs().amax(dim=2).amin(dim=1)
    return torch.nonzero(distance <= reach).squeeze(1)


def piece(scene, rows):
    """Some voxels as if there were no others."""
    coords = scene.coords[rows]
    return dataclasses.replace(
        scene, index=index_of(coords), coords=coords, chunks=(scene.features[rows],),
        color=scene.color[rows], normal=scene.normal[rows])


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("count", [1, 30, 400])
def test_some_rows_come_out_as_those_of_all(name, count):
    net, scene = net_of(name), surface()
    rows = torch.randperm(len(scene))[:count]
    found = net.learnt(scene, rows)
    assert found.shape == (count, net.shape.embedding_dim)
    torch.testing.assert_close(found, net.learnt(scene)[rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_a_piece_with_all_within_reach_is_enough(name):
    net, scene = net_of(name), dataclasses.replace(surface(), floor_m=0.0)
    rows = torch.nonzero(scene.coords[:, 0] > 25).squeeze(1)
    kept = around(scene, rows, net.shape.reach_voxels)
    assert len(kept) < len(scene)
    wanted = torch.searchsorted(kept, rows)
    found = net.learnt(piece(scene, kept), wanted)
    torch.testing.assert_close(found, net.learnt(scene, rows), rtol=0, atol=1e-6)


def test_cost_follows_the_wanted_rows(monkeypatch):
    done = []
    plain = order_module.TapOrder.convolved

    def counted(self, *arguments):
        for rows, values in plain(self, *arguments):
            done.append(len(values))
            yield rows, values

    monkeypatch.setattr(order_module.TapOrder, "convolved", counted)
    floor = torch.cartesian_prod(torch.arange(80), torch.arange(80), torch.tensor([0]))
    count = len(floor)
    scene = VoxelScene(
        index_of(floor), floor, (torch.zeros((count, D)),), torch.zeros((count, 3)),
        torch.zeros((count, 3)), torch.tensor([0.0, 0, 1], dtype=torch.float64), 0.05)
    student().learnt(scene, torch.tensor([40 * 80 + 40]))
    assert sum(done) == sum((2 * apron + 1) ** 2 for apron in range(8))


def test_joined_puts_the_halves_together_for_any_rows():
    net, scene = student(), surface()
    whole, learnt = net.embed(scene), net.learnt(scene)
    rows = torch.tensor([7, 300, 12])
    found = net.joined(learnt[rows], scene.normal[rows], scene.color[rows])
    torch.testing.assert_close(found, whole[rows], rtol=0, atol=1e-6)
    half = net.joined(learnt[rows].half(), scene.normal[rows], scene.color[rows])
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, whole[rows], rtol=0, atol=1e-3)


def edited(scene, here):
    """Other features and colours at some rows."""
    features, color = scene.features.clone(), scene.color.clone()
    features[here] += 1.0
    color[here] = 255.0 - color[here]
    return dataclasses.replace(scene, chunks=(features,), color=color)


@pytest.mark.parametrize("name", SHAPES)
def test_embeddings_far_from_an_edit_stay_as_they_are_to_the_last_bit(name):
    net, scene = net_of(name), dataclasses.replace(surface(), floor_m=0.0)
    here = torch.nonzero(scene.coords[:, 0] > 27).squeeze(1)
    before, after = net.learnt(scene), net.learnt(edited(scene, here))
    far = torch.ones(len(scene), dtype=torch.bool)
    far[around(scene, here, net.shape.reach_voxels)] = False
    assert far.sum() > 50
    assert torch.equal(after[far], before[far])
    assert not torch.equal(after[here], before[here])


def with_more(scene, coords):
    """The scene with voxels behind those it has."""
    count, everywhere = len(coords), torch.cat((scene.coords, coords))
    return dataclasses.replace(
        scene, index=index_of(everywhere), coords=everywhere,
        chunks=(*scene.chunks, torch.zeros((count, D))),
        color=torch.cat((scene.color, torch.zeros((count, 3)))),
        normal=torch.cat((scene.normal, torch.zeros((count, 3)))))


def test_voxels_far_below_move_no_embedding_once_the_floor_is_known():
    """A cellar that comes into view lowers what is found as the floor, and so all heights."""
    net, scene = net_of("geometry"), surface()
    cellar = torch.cartesian_prod(torch.arange(10), torch.arange(10), torch.tensor([-30]))
    whole = with_more(scene, cellar)
    known = dataclasses.replace(whole, floor_m=floor_of(scene))
    before = net.learnt(scene)
    torch.testing.assert_close(net.learnt(known)[: len(scene)], before, rtol=0, atol=1e-6)
    assert (net.learnt(whole)[: len(scene)] - before).abs().max() > 1e-3


def test_a_student_that_was_in_use_can_learn():
    net, scene = student(), surface()
    net.learnt(scene)
    taps = submanifold_map(scene.index, scene.coords)
    net(input_of(scene, "features"), taps)[:, 0].sum().backward()
    assert all(p.grad is not None for p in net.parameters())
