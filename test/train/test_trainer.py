"""The loop: schedule, resuming, stopping; crops and symmetries; the student's task."""

import dataclasses
import json

import pytest
import torch
from PIL import Image
from train_scenes import FEATURE_DIM, box_map, box_scene, with_voxels, write_scenes

from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.scene import scene_of_map
from geopurify_ros.core.purification.sparse_conv import index_of, sparse_conv, submanifold_map
from geopurify_ros.core.purification.student import SMALL, StudentNet, StudentShape
from geopurify_ros.data.map_file import save_map
from geopurify_ros.errors import ConfigError, InputError
from geopurify_ros.train.students.crops import crops_of, random_symmetry, turned
from geopurify_ros.train.students.distill import IMPROVED_RULES
from geopurify_ros.train.students.scenes import load_scenes
from geopurify_ros.train.students.student_task import StudentTask, make_units
from geopurify_ros.train.students.teachers.geometric import GeometricTeacher
from geopurify_ros.train.trainer import Schedule, fit, trained_weights

RULES = dataclasses.replace(IMPROVED_RULES, anchors=128, macro=16, micro=6, near=32, pool=40)
TINY = StudentShape(hidden=12, blocks=1, embedding_dim=16, with_soft=False)


def geometric(scene):
    return GeometricTeacher().features(scene.voxels)


def tiny_task(kind="features", scenes=None, seed=0):
    scenes = scenes or [box_scene(0), box_scene(1)]
    torch.manual_seed(seed)
    shape = dataclasses.replace(TINY, input=kind)
    net = StudentNet(shape, shape.in_channels(FEATURE_DIM))
    return StudentTask(net, make_units(scenes, geometric, kind, RULES, 100_000, seed), RULES)


def test_t1_10_learning_rates_at_the_corners_of_the_schedule():
    schedule = Schedule(steps=2000, warmup=40, base_lr=1e-4)
    for multiplier in (0.1, 1.0, 5.0):
        peak = 1e-4 * multiplier
        assert schedule.learning_rate(0, multiplier) == pytest.approx(1e-6 * peak)
        assert schedule.learning_rate(20, multiplier) == pytest.approx(0.5 * peak, rel=1e-5)
        assert schedule.learning_rate(40, multiplier) == pytest.approx(peak)
        middle = (peak + 1e-7) / 2
        assert schedule.learning_rate(1020, multiplier) == pytest.approx(middle)
        assert schedule.learning_rate(2000, multiplier) == pytest.approx(1e-7)  # one floor
    warming = [schedule.learning_rate(step, 1.0) for step in range(41)]
    assert warming == sorted(warming)


def test_t1_10_groups_learn_at_0_1_1_and_5_and_hold_every_weight():
    task = tiny_task()
    groups = task.groups()
    assert [rate for rate, _ in groups] == [0.1, 1.0, 5.0]
    held = [id(p) for _, group in groups for p in group]
    assert sorted(held) == sorted(id(p) for p in task.net.parameters())


def test_the_loss_falls_and_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path):
    schedule = Schedule(steps=24, warmup=4, base_lr=3e-3)
    whole = fit(tiny_task(), schedule, tmp_path / "whole", {"x": 1}, save_every=8)
    assert sum(s["loss"] for s in whole[-6:]) < 0.85 * sum(s["loss"] for s in whole[4:10])
    parts = tmp_path / "parts"
    fit(tiny_task(), schedule, parts, {"x": 1}, save_every=8, stop_after=11)  # 8 are kept
    task = tiny_task(seed=0)
    again = fit(task, schedule, parts, {"x": 1}, save_every=8)
    assert again == whole
    report = json.loads((parts / "metrics.json").read_text())
    assert [step["loss"] for step in report["steps"]] == [step["loss"] for step in whole]
    assert Image.open(parts / "curves.png").size[0] > 100


class ConvolutionTask:
    """A 3x3 convolution, channels last as image towers are, towards fixed images."""

    def __init__(self):
        torch.manual_seed(0)
        self.net = torch.nn.Conv2d(4, 5, 3).to(memory_format=torch.channels_last)

    def groups(self):
        return [(1.0, list(self.net.parameters()))]

    def loss(self, step, generator):
        images = torch.randn(2, 4, 6, 6, generator=generator)
        return (self.net(images) - images[:, :1, 1:-1, 1:-1]).square().mean(), {}

    def after_step(self, step):
        pass

    def where(self, step):
        return ""


def test_moments_of_convolutions_keep_their_order_when_a_run_goes_on(tmp_path):
    schedule = Schedule(steps=12, warmup=1, base_lr=1e-2)
    whole = fit(ConvolutionTask(), schedule, tmp_path / "whole", {}, save_every=6)
    fit(ConvolutionTask(), schedule, tmp_path / "parts", {}, save_every=6, stop_after=6)
    again = fit(ConvolutionTask(), schedule, tmp_path / "parts", {}, save_every=6)
    assert [s["loss"] for s in again] == pytest.approx([s["loss"] for s in whole], rel=1e-6)


def test_a_run_with_other_settings_is_not_resumed(tmp_path):
    schedule = Schedule(steps=2, warmup=1)
    fit(tiny_task(), schedule, tmp_path, {"sampling": "paper"})
    with pytest.raises(InputError, match="of a run with other settings"):
        fit(tiny_task(), schedule, tmp_path, {"sampling": "improved"})


def test_a_finished_run_is_not_done_again_and_may_go_on_longer(tmp_path):
    short = fit(tiny_task(), Schedule(steps=2, warmup=1), tmp_path, {})
    assert fit(tiny_task(), Schedule(steps=2, warmup=1), tmp_path, {}) == short
    longer = fit(tiny_task(), Schedule(steps=3, warmup=2), tmp_path, {})
    assert longer[:2] == short
    assert len(longer) == 3


def test_a_run_that_has_more_steps_than_are_asked_for_is_refused(tmp_path):
    """It would write no weights, and say that it had."""
    fit(tiny_task(), Schedule(steps=6, warmup=1), tmp_path, {}, save_every=3)
    with pytest.raises(InputError, match="holds a training of 6 steps, more than the 4"):
        fit(tiny_task(), Schedule(steps=4, warmup=1), tmp_path, {}, save_every=3)
    assert len(fit(tiny_task(), Schedule(steps=6, warmup=1), tmp_path, {}, save_every=3)) == 6


def test_damaged_progress_and_a_run_without_steps_are_named(tmp_path):
    (tmp_path / "progress.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"progress.safetensors is damaged: choose another"):
        fit(tiny_task(), Schedule(steps=2), tmp_path, {})
    with pytest.raises(InputError, match="holds no training"):
        trained_weights(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="steps is 0, expected 1 or more"):
        Schedule(steps=0)


def test_long_gradients_are_cut(tmp_path):
    def moved(clip_norm):
        task = tiny_task()
        before = [p.detach().clone() for p in task.net.parameters()]
        schedule = Schedule(steps=1, warmup=0, weight_decay=0.0, clip_norm=clip_norm)
        fit(task, schedule, tmp_path / str(clip_norm), {})
        # AdamW's first step is the same for any length, unless the gradient drowns in its epsilon
        pairs = zip(task.net.parameters(), before, strict=True)
        return sum(float((p.detach() - b).abs().sum()) for p, b in pairs)

    assert moved(1e-9) < 0.1 * moved(0.0)


def test_a_loss_that_is_not_finite_names_the_scene(tmp_path):
    scene = box_scene(4)
    task = tiny_task(scenes=[scene])
    scene.voxels.features[3] = float("nan")
    with pytest.raises(InputError, match="not finite at step 0, scene box_4"):
        fit(task, Schedule(steps=2, warmup=1), tmp_path, {})


def test_scenes_that_cannot_be_learned_from_are_named(tmp_path):
    write_scenes(tmp_path, 2)
    assert [scene.name for scene in load_scenes(tmp_path)] == ["box_0", "box_1"]
    voxel_map, _ = box_map(2)
    voxel_map._features._chunks[0][7, 0] = float("nan")
    save_map(tmp_path / "spoilt.safetensors", voxel_map, "test-encoder", "map")
    with pytest.raises(InputError, match=r"spoilt.*not finite"):
        load_scenes(tmp_path)
    save_map(tmp_path / "spoilt.safetensors", box_map(2, size=4)[0], "test-encoder", "map")
    with pytest.raises(InputError, match=r"scene spoilt has [0-9]+ voxels, 200 or more"):
        load_scenes(tmp_path)
    save_map(tmp_path / "spoilt.safetensors", box_map(2)[0], "another", "map")
    with pytest.raises(InputError, match="scene spoilt is of encoder another"):
        load_scenes(tmp_path)
    with pytest.raises(InputError, match="holds no scenes"):
        load_scenes(tmp_path / "empty")


def test_crops_cover_the_scene_and_are_as_dense_as_it():
    scene = box_scene(size=40).voxels
    crops = crops_of(scene, 1500)
    assert len(crops) > 3
    assert max(map(len, crops)) <= 1500
    inner = torch.cat([crop.rows[crop.interior] for crop in crops])
    assert torch.equal(inner.sort().values, torch.arange(len(scene)))
    whole = nearest_neighbors(scene.index, scene.coords, 26)
    near = (scene.coords[whole.index] - scene.coords[:, None]).abs().amax(dim=2) <= 2
    for crop in crops:
        held = torch.zeros(len(scene), dtype=torch.bool)
        held[crop.rows] = True
        rows = crop.rows[crop.interior]
        around = whole.index[rows][(near & whole.mask)[rows]]
        assert bool(held[around].all())


def test_one_crop_of_a_small_scene_is_the_scene():
    scene = box_scene().voxels
    (crop,) = crops_of(scene, 100_000)
    assert torch.equal(crop.rows, torch.arange(len(scene)))
    assert len(crop.interior) == len(scene)


def test_turned_taps_are_those_of_the_turned_voxels():
    coords = box_scene().voxels.coords
    taps = submanifold_map(index_of(coords), coords)
    values, weight = torch.randn(len(coords), 3).double(), torch.randn(27, 3, 2).double()
    for seed in range(6):
        symmetry = random_symmetry(torch.Generator().manual_seed(seed))
        there = coords @ symmetry.T.long()
        expected = sparse_conv(values, weight, submanifold_map(index_of(there), there))
        assert torch.allclose(sparse_conv(values, weight, turned(taps, symmetry)), expected)
    found = {tuple(random_symmetry(torch.Generator().manual_seed(s)).flatten().tolist())
             for s in range(600)}
    assert len(found) == 48


@pytest.mark.parametrize("kind", ["features", "geometry"])
def test_training_and_node_feed_the_student_the_same(kind, monkeypatch):
    """METHODS 1.13 B1: without augmentation a unit's input is that of StudentNet.embed."""
    from geopurify_ros.core.purification import student
    from geopurify_ros.train.students import student_task

    task, seen = tiny_task(kind, [box_scene(5)]), []
    monkeypatch.setattr(student_task, "random_symmetry", lambda _: torch.eye(3))
    monkeypatch.setattr(student_task, "_COLOR_JITTER", 0.0)
    forward, inputs_of = task.net.forward, student.inputs_of
    monkeypatch.setattr(task.net, "forward", lambda v, t: seen.append(v) or forward(v, t))
    task.loss(0, torch.Generator().manual_seed(0))
    of_node = torch.full_like(seen[0], torch.nan)

    def watched(scene, rows, *arguments):
        for which, values in inputs_of(scene, rows, *arguments):
            of_node[rows[which]] = values
            yield which, values

    monkeypatch.setattr(student, "inputs_of", watched)
    task.net.embed(scene_of_map(box_map(5)[0], torch.tensor([0.0, 0, 1])))
    assert torch.allclose(seen[0], of_node, atol=1e-6)
    assert seen[0].shape[1] == SMALL.in_channels(FEATURE_DIM) if kind == "features" else 8


def test_features_that_are_constant_do_not_blow_up():
    scene = box_scene(6)
    scene = with_voxels(scene, features=torch.ones_like(scene.voxels.features))
    loss, _ = tiny_task(scenes=[scene]).loss(0, torch.Generator().manual_seed(0))
    assert bool(torch.isfinite(loss))
