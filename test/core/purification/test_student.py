"""The student: size, symmetry, locality (METHODS T1.9), and its one input (B1)."""

import dataclasses

import pytest
import torch
from surface_scenes import D, input_of, rearranged, student, surface
from torch.nn.functional import normalize

from geopurify_ros.core.purification import scene as scene_module
from geopurify_ros.core.purification import student as student_module
from geopurify_ros.core.purification.embedding import geometric_embedding
from geopurify_ros.core.purification.scene import (
    height_m,
)
from geopurify_ros.core.purification.sparse_conv import index_of, submanifold_map
from geopurify_ros.core.purification.student import (
    PAPER,
    SMALL,
    StudentNet,
    StudentShape,
    num_parameters,
)
from geopurify_ros.errors import ConfigError, InputError

LEARNT = dataclasses.replace(SMALL, with_soft=False)


def test_sizes_of_the_students():
    small = StudentNet(SMALL, SMALL.in_channels(384))
    assert num_parameters(small) < 1_000_000
    paper = StudentNet(PAPER, PAPER.in_channels(512))
    assert num_parameters(paper) == pytest.approx(63.86e6, rel=1e-3)


@pytest.mark.parametrize("kind", ["features", "geometry"])
def test_t1_9_the_order_of_voxels_and_whole_shifts_leave_embeddings_alone(kind):
    net, scene = student(dataclasses.replace(SMALL, input=kind)), surface()
    expected = net.embed(scene)
    assert torch.allclose(expected.norm(dim=1), torch.ones(len(scene)), atol=1e-5)
    order = torch.randperm(len(scene))
    assert torch.allclose(net.embed(rearranged(scene, order)), expected[order], atol=1e-5)
    coords = scene.coords + torch.tensor([8, -800, 33])
    moved = dataclasses.replace(scene, index=index_of(coords), coords=coords)
    assert torch.allclose(net.embed(moved), expected, atol=1e-6)


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_an_embedding_depends_on_nothing_beyond_the_receptive_field(norm):
    """What purification by region rests on (METHODS 6.2); batch norm is frozen in use."""
    shape = StudentShape(hidden=8, blocks=2, norm=norm)
    net, scene = student(shape), surface()
    features = scene.features.clone()
    changed = int(((scene.coords - torch.tensor([29, 10, 0])) ** 2).sum(dim=1).argmin())
    features[changed] += 1.0
    before = net.embed(scene)
    after = net.embed(dataclasses.replace(scene, chunks=(features,)))
    distance = (scene.coords - scene.coords[changed]).abs().amax(dim=1)
    same = (before == after).all(dim=1)
    assert not same[changed]
    assert same[distance > shape.reach_voxels].all()


def test_the_input_is_feature_colour_normal_or_geometry_alone():
    scene = surface()
    full = input_of(scene, "features")
    assert full.shape == (len(scene), D + 6)
    assert torch.equal(full[:, :D], scene.features)
    assert torch.allclose(full[:, D:D + 3], scene.color / 127.5 - 1)
    assert torch.equal(full[:, D + 3:], scene.normal)
    geometry = input_of(scene, "geometry")
    assert torch.equal(geometry[:, :6], full[:, D:])
    neighbors = [(((scene.coords - c).abs().amax(dim=1) == 1).sum() / 26) for c in scene.coords]
    assert torch.allclose(geometry[:, 6], torch.stack(neighbors))
    assert torch.equal(geometry[:, 7], height_m(scene))


def test_geometry_alone_does_not_look_at_the_features():
    scene = surface()
    blind = dataclasses.replace(scene, chunks=(torch.zeros((len(scene), 3)),))
    net = student(dataclasses.replace(SMALL, input="geometry"))
    assert torch.equal(net.embed(scene), net.embed(blind))


def test_height_is_above_the_floor_whichever_way_is_up():
    scene = surface()
    expected = scene.coords[:, 2] * 0.05
    assert torch.allclose(height_m(scene), expected.float(), atol=1e-6)
    turned = dataclasses.replace(
        scene, coords=scene.coords[:, [2, 0, 1]] * torch.tensor([-1, 1, 1]),
        up=torch.tensor([-1.0, 0, 0], dtype=torch.float64))
    assert torch.allclose(height_m(turned), expected.float(), atol=1e-6)


@pytest.mark.parametrize("stem", ["linear", "conv"])
def test_embedding_a_map_equals_one_forward_pass(stem, monkeypatch):
    monkeypatch.setattr(student_module, "_ROWS_AT_ONCE", 37)
    monkeypatch.setattr(scene_module, "_ROWS_AT_ONCE", 37)
    net, scene = student(dataclasses.replace(SMALL, stem=stem)), surface()
    taps = submanifold_map(scene.index, scene.coords)
    with torch.no_grad():
        expected = net(input_of(scene, "features"), taps)
    assert torch.allclose(net.embed(scene), expected, atol=1e-5)


def test_an_empty_map_has_no_embeddings():
    scene, none = surface(), torch.zeros((0, 3))
    empty = dataclasses.replace(
        scene, index=index_of(none.long()), coords=none.long(), chunks=(torch.zeros((0, D)),),
        color=none, normal=none)
    assert student(LEARNT).embed(empty).shape == (0, LEARNT.embedding_dim)
    assert len(student().embed(empty)) == 0


def test_the_hand_made_embedding_stands_beside_the_learnt_one_in_a_learnt_share():
    scene, net, alone = surface(), student(), student(LEARNT)
    with torch.no_grad():
        net.head_share.fill_(-1.0)
    share = torch.sigmoid(torch.tensor(-1.0))
    both, learnt = net.embed(scene), alone.embed(scene)
    soft = geometric_embedding(scene.normal, scene.color)
    expected = share * learnt @ learnt.T + (1 - share) * soft @ soft.T
    assert torch.allclose(both @ both.T, expected, atol=1e-5)
    values = input_of(scene, "features")
    taps = submanifold_map(scene.index, scene.coords)
    assert torch.allclose(net(values, taps), both, atol=1e-5)


def test_statistics_standardise_the_input():
    scene, net = surface(), student(LEARNT)
    taps = submanifold_map(scene.index, scene.coords)
    values = input_of(scene, "features")
    net.set_statistics(values.mean(dim=0), values.std(dim=0))
    plain = student(LEARNT)
    standard = (values - values.mean(dim=0)) / values.std(dim=0).clamp_min(1e-3)
    assert torch.allclose(net(values, taps), plain(standard, taps), atol=1e-4)


def test_a_map_of_another_width_is_refused():
    with pytest.raises(InputError, match=r"takes 26 channels, the map gives 11"):
        student().embed(surface(features=5))


def test_an_unknown_input_is_refused():
    with pytest.raises(ConfigError, match="a student's input is 'colour'"):
        StudentShape(input="colour")


@pytest.mark.slow
def test_the_student_of_the_paper_learns_one_step():
    """63.9 M parameters: forward, backward and one AdamW step move the loss (METHODS 1.2)."""
    scene = surface(count=60, features=512)
    torch.manual_seed(0)
    net = StudentNet(PAPER, PAPER.in_channels(512)).train()
    taps = submanifold_map(scene.index, scene.coords)
    values = input_of(scene, "features")
    target = normalize(torch.randn(60, 128), dim=1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-5, foreach=False)
    losses = []
    for _ in range(2):
        loss = -(net(values, taps) * target).sum(dim=1).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert losses[1] < losses[0]
