"""The self-supervised teacher: its network, its views, its training in short."""

import dataclasses
import json

import pytest
import torch
from train_scenes import box_map, box_scene, with_voxels

from geopurify_ros.core.purification.sparse_conv import index_of
from geopurify_ros.data.tensor_file import write_tensors
from geopurify_ros.errors import CheckpointError, InputError
from geopurify_ros.train.students.teachers.image_ssl import ImageSslEncoder
from geopurify_ros.train.students.teachers.selfsup import (
    SelfDistillation,
    SelfDistillationTask,
    contrast_loss,
    load_selfsup,
    random_teacher,
    train_selfsup,
)
from geopurify_ros.train.students.teachers.sparse_unet import SparseUNet, pyramid_of
from geopurify_ros.train.students.teachers.upright import upright_scene
from geopurify_ros.train.students.teachers.views import (
    CHANNELS,
    global_view,
    inputs_of,
    local_view,
    masked_view,
)
from geopurify_ros.train.trainer import Schedule

pytestmark = pytest.mark.slow


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_network_gives_every_level_at_every_voxel_in_any_order():
    scene = box_scene().voxels
    torch.manual_seed(0)
    net = SparseUNet(CHANNELS)
    values = inputs_of(scene)
    levels = net(values, pyramid_of(scene.coords))
    assert [one.shape[1] for one in levels] == list(net.widths)
    cell = scene.coords >> 4  # the last level is constant in cells of 16 voxels
    same = (cell[:, None] == cell[None]).all(dim=2)
    alike = (levels[-1][:, None] == levels[-1][None]).all(dim=2)
    assert bool(alike[same].all())
    order = torch.randperm(len(scene))
    again = net(values[order], pyramid_of(scene.coords[order]))
    for one, other in zip(levels, again, strict=True):
        assert torch.allclose(one[order], other, atol=1e-4)


def test_views_show_and_hide_what_they_should():
    scene = box_scene().voxels
    values = inputs_of(scene)
    whole = global_view(scene.coords, values, generator())
    assert torch.equal(whole.rows, torch.arange(len(scene)))
    distance = torch.cdist(scene.coords.float(), scene.coords.float())
    assert torch.allclose(torch.cdist(whole.coords.float(), whole.coords.float()), distance,
                          atol=1e-2)
    masked = masked_view(scene.coords, values, generator(1))
    share = float(masked.target.double().mean())
    assert 0.2 < share < 0.8
    assert not masked.values[masked.target].any()
    assert bool((masked.values[~masked.target][:, 7] == 1).all())
    assert len(torch.unique(masked.coords, dim=0)) == len(masked.coords)
    local = [local_view(scene.coords, values, generator(s)) for s in range(12)]
    assert all(len(view.rows) == int(0.25 * len(scene)) for view in local)
    hidden = [not view.values[:, 3:6].any() for view in local]
    assert any(hidden)
    assert not all(hidden)


def test_a_masked_view_of_a_small_piece_hides_something():
    coords = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    for seed in range(20):
        view = masked_view(coords, torch.ones((3, CHANNELS)), torch.Generator().manual_seed(seed))
        assert bool(view.target.any())


def test_the_loss_is_a_cross_entropy_over_the_voxels_and_the_queue():
    codes, taught, queue = (
        torch.nn.functional.normalize(torch.randn((n, 8), generator=generator(n)), dim=1)
        for n in (5, 5, 7)
    )
    others = torch.cat((taught, queue))
    expected = 0.0
    for k in range(5):
        expected -= float(torch.log_softmax(others @ codes[k] / 0.1, dim=0)[k]) / 5
    assert float(contrast_loss(codes, taught, queue)) == pytest.approx(expected, abs=1e-5)
    same = queue[:1].expand(5, -1)
    assert contrast_loss(taught, taught, queue) < contrast_loss(same, taught, queue)


def test_it_trains_and_teaches_the_same_every_time(tmp_path):
    scenes = [box_scene(0, size=10)]
    schedule = Schedule(steps=2, warmup=1)
    train_selfsup(scenes, schedule, tmp_path / "a", 10_000)
    whole = load_selfsup(tmp_path / "a/teacher.safetensors")
    features = whole.features(scenes[0].voxels)
    assert features.shape == (len(scenes[0].voxels), 80)
    assert torch.equal(whole.features(scenes[0].voxels), features)
    fused = whole.fused(scenes[0].voxels)
    assert fused.shape == (len(features), 256)
    assert torch.equal(whole.fused(scenes[0].voxels), fused)
    assert not fused.requires_grad
    assert whole.id == load_selfsup(tmp_path / "a/teacher.safetensors").id
    assert whole.id != random_teacher().id
    colder = with_voxels(scenes[0], features=torch.zeros_like(scenes[0].voxels.features))
    assert torch.equal(whole.features(colder.voxels), features)  # no VLM features


def test_it_learns_to_tell_what_an_image_network_saw_and_then_needs_no_image(tmp_path):
    """Each part of the box has a feature of its own there: colour and normal give it away."""
    plain = box_scene(0, size=10)
    part = (plain.voxels.color / 64).round() @ torch.tensor([25.0, 5.0, 1.0])
    features = torch.nn.functional.one_hot(part.long() % 80, 80)
    scene = dataclasses.replace(with_voxels(plain, features=features.half()),
                                encoder=ImageSslEncoder.id)
    train_selfsup([scene], Schedule(steps=60, warmup=1, base_lr=3e-3), tmp_path, 10_000)
    told = [one["image"] for one in json.loads((tmp_path / "metrics.json").read_text())["steps"]]
    assert sum(told[-5:]) / 5 < 0.6 * told[0]
    teacher = load_selfsup(tmp_path / "teacher.safetensors")
    assert torch.equal(teacher.fused(scene.voxels), teacher.fused(plain.voxels))


def test_a_folder_of_a_network_of_other_levels_is_refused(tmp_path, monkeypatch):
    scenes, schedule = [box_scene(0, size=10)], Schedule(steps=2, warmup=1)
    train_selfsup(scenes, schedule, tmp_path, 10_000)
    net = SparseUNet(CHANNELS, (32, 48))
    monkeypatch.setattr("geopurify_ros.train.students.teachers.selfsup.SparseUNet", lambda _: net)
    with pytest.raises(InputError, match="of a run with other settings: choose another folder"):
        train_selfsup(scenes, schedule, tmp_path, 10_000)


def test_the_average_follows_the_network_and_takes_no_gradient():
    scene, schedule = box_scene(), Schedule(steps=10, warmup=1)
    torch.manual_seed(0)
    net = SelfDistillation()
    task = SelfDistillationTask(net, [scene], schedule, 10_000)
    loss, logged = task.loss(0, generator())
    assert set(logged) == {"masked", "local", "groups", "image", "alike"}
    loss.backward()
    assert all(p.grad is None for p in net.teacher.parameters())
    with torch.no_grad():
        for p in net.student.parameters():
            p.add_(1.0)
    before, queue = net.teacher.out.bias.clone(), net.queue.clone()
    task.after_step(0)
    moved = net.teacher.out.bias - before
    assert torch.allclose(moved, torch.full_like(moved, 0.01), atol=1e-5)
    assert torch.equal(net.queue[:-256], queue[256:])  # the oldest are gone
    assert not torch.equal(net.queue[-256:], queue[-256:])


def test_a_scene_lying_on_its_side_is_seen_upright():
    voxel_scene = box_scene().voxels
    coords = voxel_scene.coords[:, [2, 0, 1]]
    lying = dataclasses.replace(
        voxel_scene, coords=coords, index=index_of(coords),
        normal=voxel_scene.normal[:, [2, 0, 1]],
        up=torch.tensor([1.0, 0, 0], dtype=torch.float64))
    assert torch.allclose(inputs_of(lying)[:, 6:], inputs_of(voxel_scene)[:, 6:], atol=1e-6)
    assert len(box_map()[1]) == len(coords)
    seen = upright_scene(lying)[0]
    assert torch.allclose(inputs_of(seen)[:, 5:], inputs_of(voxel_scene)[:, 5:], atol=1e-6)
    assert random_teacher().features(lying).shape == (len(coords), 80)


def test_a_file_that_is_no_teacher_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="there is no teacher"):
        load_selfsup(tmp_path / "teacher.safetensors")
    (tmp_path / "teacher.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="damaged or no teacher"):
        load_selfsup(tmp_path / "teacher.safetensors")
    write_tensors(tmp_path / "old.safetensors", {}, "geopurify_teacher",
                  {"widths": [32, 48], "channels": 9})
    with pytest.raises(CheckpointError, match="another version: geopurify train"):
        load_selfsup(tmp_path / "old.safetensors")
