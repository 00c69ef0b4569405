"""The command line: from a sequence to a map, an answer and scores; errors are one sentence."""

import functools
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from command_line import last_json, refusal, run
from PIL import Image

from geopurify_ros.cli.options import sample_room
from geopurify_ros.core.mapping.fusion import FeatureBags, FrameVoxels
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.data.map_file import load_map, save_map
from geopurify_ros.encoders import load_encoder
from geopurify_ros.offline import pipeline as offline

pytestmark = pytest.mark.slow

EVAL_SCORES = {"miou", "macc", "f_miou", "f_macc", "boundary_miou", "per_class"}


@functools.cache
def builtin():
    return load_encoder("builtin", torch.device("cpu"))


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """The map of every eighth frame of the sample room, and what `map` said of it."""
    path = tmp_path_factory.mktemp("maps") / "room.safetensors"
    return path, last_json("map", sample_room(), "--out", path, "--every", 8)


def test_map_writes_a_map_and_says_what_is_in_it(mapped):
    path, said = mapped
    loaded, header = load_map(path)
    assert said["map"] == str(path)
    assert (said["num_frames"], said["num_refused"]) == (5, 0)
    assert said["num_voxels"] == header.num_voxels == len(loaded) > 10_000
    assert said["encoder"] == header.encoder
    assert said["encoder_dtype"] == header.encoder_dtype != "unknown"
    assert said["bytes"] == path.stat().st_size
    assert header.up[2] > 0.9  # the sample room is z up, its camera was held upright


def test_query_answers_and_writes_cloud_and_picture(mapped, tmp_path):
    path, said = mapped
    cloud = tmp_path / "answer.ply"
    answer = last_json("query", path, "sofa, стул, 椅子", "--out", cloud, "--png")
    assert [one["prompt"] for one in answer["prompts"]] == ["sofa", "стул", "椅子"]
    for one in answer["prompts"]:
        assert one.keys() == {
            "prompt", "found", "score", "num_voxels", "num_pieces", "best_position_m", "box_m",
            "otherwise", "nearest", "nearest_score", "read_as", "label", "is_calibrated",
            "unreadable",
        }
        assert 0 <= one["score"] <= 1
        assert 0 <= one["nearest_score"] <= 1
    sofa, *unread = answer["prompts"]
    assert sofa["found"]
    assert sofa["is_calibrated"]
    assert sofa["num_pieces"] >= 1
    assert sofa["otherwise"]
    low, high = sofa["box_m"]
    assert all(a < b < c for a, b, c in zip(low, sofa["best_position_m"], high, strict=True))
    assert [(one["found"], one["nearest"]) for one in unread] == [(False, ""), (False, "")]
    assert all("does not know" in one["unreadable"] for one in unread)
    assert len(sofa["best_position_m"]) == 3
    assert cloud.read_bytes().startswith(b"ply\n")
    assert f"element vertex {said['num_voxels']}\n".encode() in cloud.read_bytes()[:1000]
    assert answer["png"] == str(cloud.with_suffix(".png"))
    assert np.asarray(Image.open(answer["png"])).std() > 5  # a picture, not a blank page


def test_a_query_for_people_says_found_or_not_there(mapped):
    code, out, _ = run("query", mapped[0], "sofa, xylophone", "--set", "query.threshold=0.9999")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("sofa: not there; nearest: ")
    assert re.fullmatch(r"xylophone: not there; nearest: .+ \d\.\d\d", lines[1])


def test_a_query_explains_how_it_was_understood(mapped):
    said = run("query", mapped[0], "couch, refrigerator", "--explain")[1].splitlines()
    assert re.fullmatch(
        r'couch: found, \d+ voxels in \d+ pieces?, score 0\.\d\d, best at x \S+ y \S+ z \S+ m; '
        r'read as "sofa"; instead it would be mostly: .+', said[0]), said
    assert said[1].startswith("refrigerator: not there; nearest: ")
    listed = run("query", mapped[0], "couch", "--explain", "--set", "query.negatives=wall")[1]
    assert listed.endswith("m; the score is not calibrated\n")
    plain = run("query", mapped[0], "couch")[1]
    assert "read as" not in plain


def test_eval_scores_raw_blur_and_purified(mapped):
    result = last_json("eval", sample_room(), "--every", 8)
    assert {"sequence", "encoder", "voxel_size_m", "num_voxels", "classes", "raw", "blur",
            "purified", "seconds"} <= result.keys()
    assert result["sequence"] == "sample_room"
    assert result["encoder_dtype"] in ("float32", "bfloat16", "float16")
    assert result["voxel_size_m"] == 0.05
    assert result["num_voxels"] == mapped[1]["num_voxels"]
    assert "sofa" in result["classes"]
    for stage in ("raw", "blur", "purified"):
        assert result[stage].keys() == EVAL_SCORES
        assert all(0 <= result[stage][score] <= 1 for score in EVAL_SCORES - {"per_class"})
        assert set(result[stage]["per_class"]) <= set(result["classes"])
    assert result["purified"]["miou"] > result["raw"]["miou"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_figures_and_maps_are_made_in_the_number_type_that_was_asked_for(tmp_path, dtype):
    path, asked = tmp_path / "room.safetensors", ("--every", 20, "--set", f"encoder.dtype={dtype}")
    assert last_json("eval", sample_room(), *asked)["encoder_dtype"] == dtype
    assert f"in {dtype}" in run("eval", sample_room(), *asked)[1].splitlines()[0]
    assert last_json("map", sample_room(), "--out", path, *asked)["encoder_dtype"] == dtype
    assert load_map(path)[1].encoder_dtype == dtype
    answer = last_json("query", path, "sofa", "--set", "encoder.dtype=float16")
    assert answer["encoder_dtype"] == dtype  # the map's: a query encodes no image


def test_json_is_the_last_line_of_a_real_process(mapped):
    """Progress and remarks go to stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "geopurify_ros.cli", "query", str(mapped[0]), "plant", "--json"],
        capture_output=True, text=True, check=True, env=dict(os.environ))
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["prompts"][0]["prompt"] == "plant"
    assert "plant: " in done.stderr


def test_a_real_process_ends_with_code_2_and_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "geopurify_ros.cli", "query", str(tmp_path / "no.map"), "chair"],
        capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"geopurify query: there is no map file {tmp_path}/no.map\n"


def test_folders_that_are_no_sequences_are_refused(tmp_path):
    assert f"there is no file or folder {tmp_path}/nowhere" in refusal(
        "map", tmp_path / "nowhere", "--out", tmp_path / "m")
    assert "is not a sequence: it has no folder color/" in refusal(
        "map", tmp_path, "--out", tmp_path / "m")
    assert "is not a sequence" in refusal("eval", tmp_path)
    assert f"the folder {tmp_path}/nowhere does not exist" in refusal(
        "map", sample_room(), "--out", tmp_path / "nowhere" / "m")


def test_files_that_are_no_maps_are_refused(tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"not a map")
    assert "is damaged or no geopurify map" in refusal("query", path, "chair")


def test_a_map_of_another_encoder_or_voxel_size_is_refused(mapped, tmp_path):
    loaded, header = load_map(mapped[0])
    other = tmp_path / "other.safetensors"
    save_map(other, loaded, "open_clip:ViT-B-32:openai", header.frame)
    assert "was made with encoder open_clip:ViT-B-32:openai, not builtin" in refusal(
        "query", other, "chair")
    assert "was made with voxels of 0.05 m, not 0.1 m" in refusal(
        "query", mapped[0], "chair", "--voxel-size", 0.1)


def test_the_default_voxel_size_counts_where_somebody_asked_for_it(tmp_path, monkeypatch):
    path = tmp_path / "coarse.safetensors"
    code, _, err = run("map", sample_room(), "--out", path, "--every", 20, "--voxel-size", 0.1)
    assert code == 0, err
    for asked in (("--voxel-size", 0.05), ("--set", "map.voxel_size_m=0.05")):
        said = refusal("query", path, "chair", *asked)
        assert "was made with voxels of 0.1 m, not 0.05 m" in said
    sizes = []
    monkeypatch.setattr(offline, "student_for", lambda _, __, size_m, ___: sizes.append(size_m))
    assert run("query", path, "chair", "--embedding", "geometric")[0] == 0
    assert sizes == [0.1]  # the student is told the map's size


def test_targets_that_cannot_be_written_are_told_before_the_work(mapped, tmp_path):
    for command in (("map", sample_room()), ("query", mapped[0], "chair")):
        assert "is a folder: name a file to write" in refusal(*command, "--out", tmp_path)
        assert "is a folder: name a file to write" in refusal(*command, "--out", ".")
    assert "is a folder" in refusal("query", mapped[0], "chair", "--out", ".", "--png")


@pytest.mark.parametrize("command", ["run", "play", "doctor", "demo"])
def test_without_ros_the_ros_commands_say_what_to_do(command, monkeypatch):
    for module in [m for m in sys.modules if m.startswith(("geopurify_ros.ros", "rclpy"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "rclpy", None)
    assert "is missing: source your ROS 2 installation" in refusal(command)


def test_an_empty_map_is_refused(tmp_path):
    path = tmp_path / "empty.safetensors"
    save_map(path, VoxelMap(builtin().feature_dim, 0.05), builtin().id, "map")
    assert "is empty: there is nothing to ask" in refusal("query", path, "chair")


@pytest.mark.parametrize("prompts", ["", " , ,", "\t"])
def test_an_empty_query_is_refused(mapped, prompts):
    assert "the query is empty" in refusal("query", mapped[0], prompts)


def test_an_over_long_query_is_refused(mapped):
    assert "has 201 characters, at most 200" in refusal("query", mapped[0], "x" * 201)
    many = ",".join(f"thing {i}" for i in range(65))
    assert "65 prompts, at most 64" in refusal("query", mapped[0], many)


@pytest.mark.parametrize(("options", "sentence"), [
    (("--set", "depth.maxm=4"), "there is no parameter depth.maxm"),
    (("--set", "depth.max_m"), "is not of the form name=value"),
    (("--set", "depth.max_m=[4"), "cannot be read as YAML"),
    (("--set", "depth.max_m=nan"), "depth.max_m is nan"),
    (("--set", "depth.max_m=deep"), "depth.max_m is 'deep', expected a float"),
    (("--embedding", "teacher"), "purify.embedding is 'teacher', expected one of"),
    (("--voxel-size", "0"), "map.voxel_size_m is 0.0"),
    (("--voxel-size", "big"), "argument --voxel-size: invalid float value: 'big'"),
    (("--every", "0"), "--every is 0"),
    (("--depth-unit", "5000"), "'5000' is no length of a unit, as 0.0002 or 1/5000"),
    (("--depth-unit", "1/0"), "'1/0' is no length of a unit"),
    (("--depth-unit", "mm"), "'mm' is no length of a unit"),
    (("--config", "nowhere.yaml"), "nowhere.yaml cannot be read as YAML"),
    (("--encoder", "nothing"), "there is no encoder 'nothing'"),
    (("--set", "encoder.device=tpu9"), "the device 'tpu9' cannot be used here"),
    (("--set", "encoder.dtype=half"),
     "encoder.dtype is 'half', expected one of auto, float32, bfloat16, float16"),
    (("--colour", "red"), "unrecognized arguments"),
])
def test_wrong_options_are_refused(tmp_path, options, sentence):
    code, out, err = run("map", sample_room(), "--out", tmp_path / "m", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert sentence in err


@pytest.mark.parametrize("command", ["play", "demo"])
@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf"])
def test_rates_that_are_none_are_refused(command, rate):
    assert f"--rate is {float(rate)}, expected more than 0" in refusal(command, f"--rate={rate}")


def test_a_rate_that_is_no_number_is_refused():
    assert "argument --rate: invalid float value: 'fast'" in refusal("play", "--rate", "fast")


def test_missing_arguments_are_refused_in_a_sentence():
    assert "the following arguments are required: sequence, --out" in refusal("map")


def test_pictures_need_a_place(mapped, tmp_path):
    assert "--png without a name needs --out" in refusal("query", mapped[0], "chair", "--png")
    assert "nowhere does not exist" in refusal(
        "query", mapped[0], "chair", "--png", tmp_path / "nowhere" / "a.png")
    assert "a.txt cannot be written: unknown file extension: .txt" in refusal(
        "query", mapped[0], "chair", "--png", tmp_path / "a.txt")


@pytest.mark.parametrize("extent", [(1, 1, 1), (6, 6, 1), (1, 1, 30)])
def test_maps_without_any_height_make_pictures_too(tmp_path, extent):
    """One voxel, a piece of floor, a pole: nothing of them is below a ceiling."""
    coords = torch.cartesian_prod(*(torch.arange(n) for n in extent))
    count = len(coords)
    width = builtin().feature_dim
    voxel_map = VoxelMap(width, 0.05)
    voxel_map.integrate(
        FrameVoxels(coords, FeatureBags.of(torch.ones(count, width)),
                    torch.full((count, 3), 200.0), torch.zeros(count, 3), torch.ones(count)), 0)
    path = tmp_path / "small.safetensors"
    save_map(path, voxel_map, builtin().id, "map")
    answer = last_json("query", path, "chair", "--png", tmp_path / "small.png")
    assert answer["num_voxels"] == count
    assert np.asarray(Image.open(answer["png"])).size > 0


def test_one_blind_frame_does_not_end_a_run(tmp_path):
    """A hand before the lens: map and eval go on with the other frames."""
    folder = tmp_path / "room"
    for part in ("color", "depth", "pose", "label"):
        (folder / part).mkdir(parents=True)
        ending = {"color": "jpg", "pose": "txt"}.get(part, "png")
        for name in ("000000", "000008"):
            (folder / part / f"{name}.{ending}").symlink_to(
                sample_room() / part / f"{name}.{ending}")
    (folder / "intrinsic").symlink_to(sample_room() / "intrinsic")
    (folder / "classes.json").symlink_to(sample_room() / "classes.json")
    (folder / "depth" / "000000.png").unlink()
    Image.fromarray(np.zeros((240, 320), np.uint16)).save(folder / "depth" / "000000.png")
    said = last_json("map", folder, "--out", tmp_path / "m")
    assert (said["num_frames"], said["num_refused"]) == (1, 1)
    assert last_json("eval", folder)["num_voxels"] == said["num_voxels"]

    (folder / "depth" / "000008.png").unlink()
    Image.fromarray(np.zeros((240, 320), np.uint16)).save(folder / "depth" / "000008.png")
    for command in (("map", folder, "--out", tmp_path / "m"), ("eval", folder)):
        code, _, err = run(*command)
        assert code == 2
        assert "no frame of" in err.splitlines()[-1]
        assert "no depth between 0.2 and 5.0 m" in err.splitlines()[-1]


def test_help_and_version():
    code, out, _ = run("--help")
    assert code == 0
    assert all(name in out for name in ("map", "query", "eval", "run", "play", "bench", "demo"))
    assert run("--version")[0] == 0
