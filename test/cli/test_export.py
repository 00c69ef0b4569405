"""`geopurify export`: purified features for programs of others."""

import json

import pytest
import torch
from command_line import last_json, refusal
from safetensors import safe_open
from torch.nn.functional import normalize

from geopurify_ros.cli.options import sample_room
from geopurify_ros.offline.pipeline import open_map

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "room.safetensors"
    last_json("map", sample_room(), "--out", path, "--every", 8)
    return path


def test_features_are_those_that_queries_are_answered_with(mapped, tmp_path):
    out = tmp_path / "features.safetensors"
    said = last_json("export", mapped, "--features", out)
    pipeline, header = open_map(mapped)
    pipeline.purify()
    with safe_open(out, framework="pt") as file:
        about = json.loads(file.metadata()["geopurify_features"])
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    count = len(pipeline.map)
    assert said == {"map": str(mapped), "features": str(out), **about}
    assert (about["encoder"], about["num_voxels"]) == (header.encoder, count)
    assert about["rank"] == pipeline.result.basis.rank
    assert {name: tuple(tensor.shape) for name, tensor in held.items()} == {
        "positions_m": (count, 3), "rgb": (count, 3), "lengths": (count,),
        "features": (count, header.feature_dim)}
    assert torch.equal(held["positions_m"], pipeline.map.centers_m())
    assert held["features"].dtype == torch.float16
    direct = torch.cat([pipeline.purified(part.contiguous())
                        for part in torch.split(pipeline.map.features(), 64, dim=1)], dim=1)
    text = pipeline.encoder.encode_text(("wall", "sofa", "table", "lamp"))
    cosines = held["features"].float() @ text.T
    expected = normalize(direct, dim=1) @ text.T
    assert (cosines - expected).abs().max() < 0.02  # what lies outside the basis
    assert (cosines.argmax(dim=1) == expected.argmax(dim=1)).float().mean() >= 0.995
    last_json("export", mapped, "--features", out)  # its own file may be replaced


def test_targets_that_would_destroy_something_are_refused(mapped, tmp_path):
    assert "does not end in .safetensors" in refusal(
        "export", mapped, "--features", tmp_path / "features.npz")
    before = mapped.read_bytes()
    assert "exists and is no geopurify features" in refusal("export", mapped, "--features", mapped)
    assert mapped.read_bytes() == before
    missing = tmp_path / "nowhere" / "features.safetensors"
    assert "does not exist" in refusal("export", mapped, "--features", missing)
    out = tmp_path / "features.safetensors"
    assert "there is no map file" in refusal("export", tmp_path / "none", "--features", out)
    assert "there are no purified features" in refusal(
        "export", mapped, "--features", out, "--embedding", "none")
    assert not out.exists()
