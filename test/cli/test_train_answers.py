"""`geopurify train answers`: sizes, and a curve that turns leads into probabilities."""

import json
import math
from statistics import median

import pytest
import torch
from command_line import last_json, refusal
from train_scenes import PARTS, mapped_box

from geopurify_ros.cli.options import sample_room
from geopurify_ros.core.answers.pieces import connected_pieces
from geopurify_ros.core.mapping.encoder import AnswerProfile
from geopurify_ros.encoders.answers_file import answers_path, read_answers
from geopurify_ros.encoders.builtin import BUILTIN_FILE
from geopurify_ros.errors import CheckpointError
from geopurify_ros.train.rooms.classes import room_classes
from geopurify_ros.train.studies import answers


def test_a_curve_is_found_again():
    generator = torch.Generator().manual_seed(0)
    rooms = []
    for count in (20000, 60000):
        lead = 4 * torch.randn(count, generator=generator)
        chance = torch.sigmoid(0.7 * lead - 0.4)
        rooms.append((lead, torch.rand(count, generator=generator) < chance))
    slope, offset = answers.fitted(rooms)
    assert (slope, offset) == (pytest.approx(0.7, abs=0.03), pytest.approx(-0.4, abs=0.03))
    curve = answers.calibration({"a": rooms[0], "b": rooms[1]})
    assert curve["ece"] < 0.01
    assert curve["worst_room_ece"] < 0.02
    assert len(curve["diagram"]) == 9  # scores of .1 and less are left out


def test_sizes_are_medians_of_whole_pieces():
    rooms = [(str(seed), mapped_box(seed)) for seed in (0, 1)]
    areas_m2 = answers.areas_of(iter(rooms))
    assert set(areas_m2) <= set(PARTS)
    sizes = []
    for _, mapped in rooms:
        voxels = mapped.pipeline.map
        counts = torch.bincount(connected_pieces(voxels.coords()[mapped.truth == 1]))
        sizes += [n * voxels.voxel_size_m**2 for n in counts.tolist() if n >= 8]
    assert areas_m2["floor"] == pytest.approx(median(sizes), abs=1e-4)


def test_the_shipped_file_is_of_the_shipped_encoder(tmp_path):
    path = answers_path(BUILTIN_FILE)
    content = json.loads(path.read_text())
    names, profile = read_answers(path, content["encoder"])
    assert names == tuple(room_classes())
    assert profile.synonyms["couch"] == "sofa"
    assert profile.is_calibrated
    assert profile.same_similarity == answers.SAME_SIMILARITY
    assert content["calibration"]["ece"] <= 0.1
    assert set(profile.areas_m2) <= set(names)
    with pytest.raises(CheckpointError, match=r"are of encoder builtin-.*, not other: make them"):
        read_answers(path, "other")
    bad = tmp_path / "bad_answers.json"
    bad.write_text(path.read_text()[:200])
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_answers(bad, "other")
    assert read_answers(tmp_path / "none.json", "other") is None


@pytest.mark.parametrize("change", [
    {"areas_m2": {"chair": math.inf}}, {"areas_m2": {"chair": math.nan}},
    {"areas_m2": {"chair": -1}}, {"same_similarity": 0}, {"same_similarity": math.nan},
    {"calibration": {"slope": math.nan, "offset": 0}},
    {"calibration": {"slope": math.inf, "offset": 0}},
    {"calibration": {"slope": 1, "offset": math.nan}}, {"calibration": {"slope": -1, "offset": 0}},
    {"names": {}}, {"names": {"chair": "seat"}}, {"names": ["chair"]}, {"names": None},
])
def test_damaged_answers_are_refused_in_a_sentence(tmp_path, change):
    content = json.loads(answers_path(BUILTIN_FILE).read_text())
    path = tmp_path / "x_answers.json"
    path.write_text(json.dumps(content | change))
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_answers(path, content["encoder"])


@pytest.mark.slow
def test_the_command_writes_what_an_encoder_reads(tmp_path):
    out = tmp_path / "x_answers.json"
    result = last_json("train", "answers", "--rooms", sample_room(), "--check", sample_room(),
                       "--out", out)
    names, profile = read_answers(out, json.loads(out.read_text())["encoder"])
    assert len(names) == len(room_classes())
    assert (profile.slope, profile.offset) == (result["slope"], result["offset"])
    assert 0.1 < profile.slope < 2
    assert isinstance(profile, AnswerProfile)
    (tmp_path / "notes.json").write_text("mine")
    assert "it is left as it is" in refusal(
        "train", "answers", "--rooms", "x", "--check", "x", "--out", tmp_path / "notes.json")
