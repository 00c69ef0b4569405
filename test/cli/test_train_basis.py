"""`geopurify train basis`: the rank is the smallest that gives the labels of direct pooling."""

import json

import pytest
import torch
from command_line import last_json, refusal
from safetensors import safe_open
from torch.nn.functional import normalize
from train_scenes import PARTS, mapped_box

from geopurify_ros.cli.options import sample_room
from geopurify_ros.encoders.basis_file import BASIS_KIND, TENSOR, read_basis
from geopurify_ros.train.studies import basis
from geopurify_ros.train.studies.basis import RankFigures


@pytest.fixture
def rooms(monkeypatch):
    monkeypatch.setattr(basis, "room_classes", lambda: dict.fromkeys(PARTS))
    return [(f"room {seed}", mapped_box(seed)) for seed in (0, 1)]


def test_moments_are_of_raw_and_of_directly_purified_features_alike(rooms):
    moment, names = basis.moments_of(iter(rooms))
    assert names == ["room 0", "room 1"]
    expected = torch.zeros_like(moment)
    for _, mapped in rooms:
        for features in (mapped.pipeline.map.features(),
                         mapped.pipeline.purified(mapped.pipeline.map.features())):
            unit = normalize(features.double(), dim=1)
            expected += unit.T @ unit / len(unit) / 4
    torch.testing.assert_close(moment, expected, rtol=0, atol=1e-6)


def test_all_directions_agree_and_more_agree_better(rooms, tmp_path):
    moment, _ = basis.moments_of(iter(rooms))
    figures = basis.check(iter(rooms), moment, (1, 4, len(moment)))
    rows = basis.worst(figures)
    assert [row.rank for row in rows] == [1, 4, len(moment)]
    assert rows[-1].agreement >= 0.999
    assert rows[-1].left_out == pytest.approx(0, abs=1e-6)
    assert rows[0].agreement < rows[-1].agreement
    assert rows[0].left_out > rows[1].left_out > rows[2].left_out
    assert "| 4 | " in basis.table(rows)
    path = tmp_path / "basis.safetensors"
    basis.write(path, moment, basis.header_of("some", rows[1], ["a"], ["b"]))
    assert read_basis(path, "some", len(moment)).shape == (len(moment), 4)


def figures(rank, agreement, own, apart):
    return RankFigures(rank, agreement, own, apart, 0.0)


def test_the_smallest_rank_must_agree_in_every_way():
    rows = [figures(8, 0.99, 1, 0), figures(16, 1, 0.99, 0), figures(24, 1, 1, 0.004),
            figures(32, 0.995, 0.996, 0.003), figures(40, 1, 1, 0)]
    assert basis.smallest(rows).rank == 32
    assert basis.smallest(rows[:3]) is None
    worst = basis.worst({"a": [rows[0]], "b": [figures(8, 1, 0.9, 0.1)]})
    assert worst == [RankFigures(8, 0.99, 0.9, 0.1, 0.0)]


@pytest.mark.slow
def test_the_command_writes_what_an_encoder_reads(tmp_path):
    """One room is derived from and checked on: its labels hang on few directions."""
    out = tmp_path / "basis.safetensors"
    result = last_json("train", "basis", "--rooms", sample_room(), "--check", sample_room(),
                       "--out", out)
    with safe_open(out, framework="pt") as file:
        header = json.loads(file.metadata()[BASIS_KIND])
        assert file.get_tensor(TENSOR).shape == (256, result["rank"])
    assert header.items() <= result.items()
    assert result["rank"] < 200
    assert min(result["agreement"], result["agreement_own"]) >= basis.LEAST_AGREEMENT
    (tmp_path / "notes.safetensors").write_text("mine")
    assert "is no geopurify basis" in refusal(
        "train", "basis", "--rooms", "x", "--check", "x", "--out", tmp_path / "notes.safetensors")
