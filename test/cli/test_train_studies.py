"""Table, probe and data efficiency in short, on maps that hold their truth."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from train_scenes import FEATURE_DIM, box_map, box_scene

from geopurify_ros.cli import main
from geopurify_ros.cli.options import sample_room
from geopurify_ros.config import Config, with_values
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.scene import scene_of_map
from geopurify_ros.core.purification.student import SMALL, StudentNet
from geopurify_ros.errors import ConfigError, InputError
from geopurify_ros.evaluate.runner import Mapped
from geopurify_ros.train.students.student_run import StudentRun
from geopurify_ros.train.students.teachers.geometric import GeometricTeacher
from geopurify_ros.train.studies.efficiency import data_efficiency
from geopurify_ros.train.studies.probe import LabeledScene, commonest_classes, probe, raw_features
from geopurify_ros.train.studies.table import (
    BLUR,
    CEILING,
    RAW,
    SOFT,
    baselines,
    markdown,
    of_student,
    of_teacher,
    summarize,
    table_of,
)
from geopurify_ros.train.trainer import Schedule

NAMES = ("floor", "wall", "board", "table")


class PartEncoder:
    """Texts are the axes along which box_map's parts lie."""

    id, feature_dim, logit_scale = "test-encoder", FEATURE_DIM, 10.0

    def encode_text(self, texts):
        return torch.eye(FEATURE_DIM)[[NAMES.index(t) for t in texts]]


def mapped_box(seed=0):
    voxel_map, part = box_map(seed)
    pipeline = Pipeline(PartEncoder(), with_values(Config(), {"purify.iterations": 10}))
    voxel_map.up_sum = torch.tensor([0.0, 0, 1]).double()
    pipeline.replace_map(voxel_map)
    return Mapped(pipeline, part + 1, NAMES, part + 1)


def untrained():
    torch.manual_seed(0)
    shape = dataclasses.replace(SMALL, input="geometry", hidden=8, blocks=1)
    return StudentNet(shape, shape.in_channels(0))


def test_the_table_holds_every_baseline_and_averages_rows_of_one_name():
    candidates = [*baselines(), of_teacher("geometric", GeometricTeacher().features),
                  of_student("student", untrained()), of_student("student", untrained())]
    rooms = [table_of(mapped_box(seed), f"box {seed}", candidates) for seed in (0, 1)]
    assert [len(rows) for rows in rooms[0]["rows"].values()] == [1, 1, 1, 1, 1, 2]
    summary = summarize(rooms)
    assert list(summary) == [RAW, BLUR, SOFT, CEILING, "geometric", "student"]
    assert summary[RAW]["gain"] == 0.0
    assert summary[CEILING]["miou"] > summary[RAW]["miou"] + 0.02
    assert summary[CEILING]["boundary_miou"] > summary[BLUR]["boundary_miou"] + 0.1
    assert summary[SOFT]["miou"] > summary[BLUR]["miou"]
    # the gate does not let a blur through, so no room can lose by it
    assert summary[BLUR]["gated_miou"] == pytest.approx(summary[RAW]["miou"])
    assert summary[BLUR]["worst_gain"] == pytest.approx(0.0)
    lines = markdown(summary).splitlines()
    assert len(lines) == 2 + len(summary)
    assert lines[2].startswith(f"| raw | {summary[RAW]['miou']:.3f} |")
    json.dumps(rooms)


def test_the_probe_reads_what_is_linear_and_not_what_is_not_there():
    scenes = []
    for seed in range(3):
        voxel_map, part = box_map(seed)
        scenes.append(LabeledScene(scene_of_map(voxel_map, torch.tensor([0.0, 0, 1])),
                                   part + 1, NAMES))
    scenes[2] = LabeledScene(scenes[2].voxels, 4 - (scenes[2].truth - 1), NAMES[::-1])
    told = probe(scenes[:2], scenes[2:], raw_features)
    assert told.miou > 0.95  # names, not numbers, are compared
    blind = probe(scenes[:2], scenes[2:], lambda scene: torch.zeros((len(scene), 1)))
    assert blind.miou < 0.3
    nothing = LabeledScene(scenes[0].voxels, torch.zeros_like(scenes[0].truth), NAMES)
    with pytest.raises(InputError, match="no labelled voxel"):
        probe([nothing], scenes, raw_features)


def test_the_probe_equals_weighted_least_squares():
    voxel_map, part = box_map(0)
    scene = scene_of_map(voxel_map, torch.tensor([0.0, 0, 1]))
    x = torch.randn((len(part), 3), generator=torch.Generator().manual_seed(0)).double()
    found = probe([LabeledScene(scene, part + 1, NAMES)], [LabeledScene(scene, part + 1, NAMES)],
                  lambda _: x)
    names = commonest_classes([LabeledScene(scene, part + 1, NAMES)])
    ones = np.concatenate((x.numpy(), np.ones((len(x), 1))), axis=1)
    truth = np.array([names.index(NAMES[p]) for p in part.tolist()])
    weight = np.bincount(truth)[truth] ** -0.5
    gram = (ones * weight[:, None]).T @ ones
    ridge = 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
    solution = np.linalg.solve(gram + ridge, (ones * weight[:, None]).T @ np.eye(4)[truth])
    predicted = (ones @ solution).argmax(axis=1)
    for number, name in enumerate(names):
        right = ((predicted == number) & (truth == number)).sum()
        assert found.accuracy[name] == pytest.approx(right / (truth == number).sum())


def test_data_efficiency_is_one_curve_over_scenes_and_seeds(tmp_path):
    run = StudentRun(schedule=Schedule(steps=2, warmup=1), input="geometry", anchors=64)
    scenes = [box_scene(0, size=10), box_scene(1, size=10)]
    result = data_efficiency(scenes, [("box", mapped_box(5))], GeometricTeacher(), run,
                             [1, 2], 2, tmp_path, tmp_path / "teacher")
    assert [(p["scenes"], p["seed"]) for p in result["points"]] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert set(result["baselines"]) == {RAW, SOFT}
    assert Image.open(tmp_path / "efficiency.png").size == (560, 360)
    with pytest.raises(ConfigError, match="3 scenes are asked for, there are 2"):
        data_efficiency(scenes, [], GeometricTeacher(), run, [3], 1, tmp_path, tmp_path)


@pytest.mark.slow
def test_the_probe_from_the_command_line_draws_random_weights_more_than_once(capsys):
    room = str(sample_room())
    assert main(["train", "probe", "--json", "--train", room, "--test", room, "--every", "20",
                 "--voxel-size", "0.1"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    random = result["selfsup, random weights"]
    found = [one["miou"] for one in random["draws"]]
    assert len(set(found)) == len(found) > 1
    assert random["miou"] == pytest.approx(sum(found) / len(found))
    # fitted and scored on one room: whatever sees neighbours tells more than a voxel by itself
    assert random["miou"] > result["colour + normal + height"]["miou"]
