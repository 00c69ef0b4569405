"""Map files: bit-equal round trip, every refusal in a sentence, never half a file."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.mapping.fusion import FeatureBags, FrameVoxels
from geopurify_ros.core.mapping.voxel_map import CHUNK_ROWS, VoxelMap
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.data import map_file
from geopurify_ros.data.map_file import FORMAT_VERSION, MapHeader, load_map, save_map
from geopurify_ros.encoders.none import NoEncoder
from geopurify_ros.errors import InputError


def make_map(count=CHUNK_ROWS + 500, width=8, seed=0):
    """A map of two chunks."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.arange(-9, 9)
    coords = torch.cartesian_prod(side, side, side)[:count]
    voxel_map = VoxelMap(width, 0.05)
    for stamp in (7_000_000_000, 9_000_000_000):
        voxel_map.integrate(FrameVoxels(
            coords, FeatureBags.of(torch.randn((count, width), generator=generator)),
            255 * torch.rand((count, 3), generator=generator),
            torch.randn((count, 3), generator=generator),
            torch.rand(count, generator=generator) + 1), stamp)
    return voxel_map


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "room.safetensors"
    save_map(path, make_map(), "test-encoder", "odom", (0.0, -1.0, 0.0))
    return path


def rewrite(path, **changes):
    """The same tensors under a changed header; None removes a field."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["geopurify_map"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = {k: v for k, v in {**header, **changes}.items() if v is not None}
    save_file(tensors, path, {"geopurify_map": json.dumps(header)})


def refusal(path, **arguments):
    with pytest.raises(InputError) as caught:
        load_map(path, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("count", [0, 1, CHUNK_ROWS, CHUNK_ROWS + 500])
def test_a_loaded_map_is_bit_equal(tmp_path, count):
    path = tmp_path / "room.safetensors"
    original = make_map(count)
    save_map(path, original, "test-encoder", "map")
    loaded, header = load_map(path, "test-encoder", 0.05)
    assert header.num_voxels == len(loaded) == count
    for name, tensor in original.state().items():
        assert loaded.state()[name].dtype == tensor.dtype
        assert torch.equal(loaded.state()[name], tensor)
    assert torch.equal(loaded.index.lookup(original.coords()), torch.arange(count))


def test_the_header_says_what_the_map_is(saved):
    _, header = load_map(saved)
    assert header == MapHeader(
        format_version=FORMAT_VERSION, encoder="test-encoder", feature_dim=8, voxel_size_m=0.05,
        frame="odom", num_voxels=CHUNK_ROWS + 500, stamp_ns=9_000_000_000, up=(0.0, -1.0, 0.0),
        sha256=header.sha256)
    assert len(header.sha256) == 64


def test_the_header_says_the_number_type_of_the_encoder(tmp_path):
    path = tmp_path / "room.safetensors"
    assert save_map(path, make_map(5), "e", "map", encoder_dtype="bfloat16") == load_map(path)[1]
    assert load_map(path)[1].encoder_dtype == "bfloat16"
    rewrite(path, encoder_dtype="float32")
    assert "does not match its checksum" in refusal(path)


def test_files_of_before_the_number_type_are_read_as_they_were(saved):
    """Neither field nor checksum know of it."""
    with safe_open(saved, framework="pt") as file:
        stored = json.loads(file.metadata()["geopurify_map"])
    assert list(stored) == ["format_version", "encoder", "feature_dim", "voxel_size_m", "frame",
                            "num_voxels", "stamp_ns", "up", "sha256"]
    content = saved.read_bytes()
    tensors = content[8 + int.from_bytes(content[:8], "little"):]
    fields = json.dumps({k: v for k, v in stored.items() if k != "sha256"}, sort_keys=True)
    assert hashlib.sha256(fields.encode() + tensors).hexdigest() == stored["sha256"]
    assert load_map(saved)[1].encoder_dtype == "unknown"


@pytest.mark.parametrize(("loaded", "now", "said"), [
    ("float32", "float32", "float32"),
    ("float32", "bfloat16", "bfloat16+float32"),
    ("bfloat16+float32", "float32", "bfloat16+float32"),
    ("unknown", "float32", "float32+unknown"),
])
def test_a_map_that_is_gone_on_with_says_both_number_types(tmp_path, loaded, now, said):
    path = tmp_path / "room.safetensors"
    save_map(path, make_map(5), "e", "map", encoder_dtype=loaded)
    for content in (load_map(path)[0], load_map(path)[0].snapshot()):
        again = save_map(tmp_path / "again.safetensors", content, "e", "map", encoder_dtype=now)
        assert again.encoder_dtype == said


def test_a_map_of_another_encoder_is_refused(saved):
    assert "was made with encoder test-encoder, not other-encoder" in refusal(
        saved, encoder_id="other-encoder")


def test_a_map_of_another_voxel_size_is_refused(saved):
    assert "was made with voxels of 0.05 m, not 0.1 m" in refusal(saved, voxel_size_m=0.1)


def test_a_map_of_another_version_is_refused_whatever_its_other_fields_are(saved):
    rewrite(saved, format_version=4, new_field=1, up=None)
    assert "has map format 4, this program reads 3" in refusal(saved)
    rewrite(saved, format_version=1)
    assert "has map format 1, this program reads 3" in refusal(saved)


def test_a_map_of_another_frame_is_refused(saved):
    assert "was made in frame 'odom', not 'map'" in refusal(saved, frame="map")


@pytest.mark.parametrize("where", [0.3, 0.5, 0.9, 1.0])
def test_a_flipped_bit_is_refused(saved, where):
    content = bytearray(saved.read_bytes())
    content[int(where * len(content)) - 1] ^= 1
    saved.write_bytes(content)
    assert "is damaged" in refusal(saved)


@pytest.mark.parametrize("changes", [{"voxel_size_m": 0.04}, {"frame": "map"}, {"stamp_ns": 1}])
def test_a_changed_header_is_refused(saved, changes):
    rewrite(saved, **changes)
    assert "does not match its checksum" in refusal(saved)


def test_values_that_are_not_finite_are_refused(tmp_path):
    voxel_map = make_map(5)
    next(voxel_map.feature_chunks())[1][2, 3] = float("nan")
    save_map(tmp_path / "nan.safetensors", voxel_map, "test-encoder", "map")
    assert "not finite" in refusal(tmp_path / "nan.safetensors")


def test_a_snapshot_keeps_what_the_map_was_while_the_map_goes_on(tmp_path):
    voxel_map = make_map()
    before = voxel_map.state()
    snapshot = voxel_map.snapshot()
    other = make_map(seed=3)
    every = FrameVoxels(
        other.coords(), FeatureBags.of(other.features()), other.colors(), other.normals(),
        other.weights())
    voxel_map.integrate(every, 11_000_000_000)
    assert not torch.equal(voxel_map.state()["features"], before["features"])
    save_map(tmp_path / "then.safetensors", snapshot, "test-encoder", "map")
    loaded, _ = load_map(tmp_path / "then.safetensors")
    for name, tensor in loaded.state().items():
        assert torch.equal(tensor, before[name]), name


def test_a_loaded_map_does_not_depend_on_its_file(saved):
    loaded, _ = load_map(saved)
    with saved.open("r+b") as file:  # whoever reads a truncated memory map is killed
        file.truncate(10)
    assert torch.equal(loaded.features(), make_map().features())


def test_parts_of_killed_writers_are_removed(saved):
    dead = saved.with_name(f".{saved.name}.999999999.part")
    mine = saved.with_name(f".{saved.name}.1.part")  # process 1 lives
    dead.touch()
    mine.touch()
    save_map(saved, make_map(3), "test-encoder", "map")
    assert not dead.exists()
    assert mine.exists()


def test_a_missing_file_is_refused(tmp_path):
    assert "there is no map file" in refusal(tmp_path / "nowhere.safetensors")
    assert "there is no map file" in refusal(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    assert "is damaged or no geopurify map" in refusal(saved)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "room.safetensors"
    path.write_bytes(b"ply\nformat ascii 1.0\n" * 50)
    assert "is damaged or no geopurify map" in refusal(path)
    save_file({"weight": torch.zeros(3)}, path)
    assert "is no geopurify map" in refusal(path)


@pytest.mark.parametrize("header", ["", "[]", "3", "{}", '{"format_version": 2}'])
def test_a_broken_header_is_refused(saved, header):
    save_file({"weight": torch.zeros(3)}, saved, {"geopurify_map": header})
    assert "is damaged or no geopurify map" in refusal(saved)


@pytest.mark.parametrize("changes", [{"num_voxels": 5}, {"feature_dim": 512}])
def test_a_header_that_contradicts_the_tensors_is_refused(saved, changes):
    rewrite(saved, **changes)
    assert "does not hold what its header says" in refusal(saved)


def test_missing_or_misshapen_tensors_are_refused(saved):
    _, header = load_map(saved)
    metadata = {"geopurify_map": json.dumps(dataclasses.asdict(header))}
    state = make_map().state()
    save_file({**state, "coords": state["coords"][:-1].clone()}, saved, metadata)
    assert "features has shape" in refusal(saved)
    del state["features"]
    save_file(state, saved, metadata)
    assert "is damaged" in refusal(saved)


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(saved, monkeypatch, broken):
    before = saved.read_bytes()

    def full_disk(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(map_file.os, broken, full_disk)
    with pytest.raises(InputError, match=r"could not be written to .*No space left"):
        save_map(saved, make_map(seed=1), "test-encoder", "map")
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_a_write_stopped_by_the_user_leaves_the_old_file_and_nothing_else(saved, monkeypatch):
    before = saved.read_bytes()

    def stopped(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(map_file.os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        save_map(saved, make_map(seed=1), "test-encoder", "map")
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_a_map_is_as_readable_as_any_other_file(saved):
    plain = saved.with_name("plain")
    plain.touch()
    assert saved.stat().st_mode == plain.stat().st_mode


def test_a_new_map_replaces_the_old_one(saved):
    newer = make_map(count=3, seed=1)
    save_map(saved, newer, "test-encoder", "map")
    assert torch.equal(load_map(saved)[0].features(), newer.features())
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match="could not be written"):
        save_map(tmp_path / "nowhere" / "room.safetensors", make_map(3), "test-encoder", "map")


def camera_at(yaw, pitch):
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack((right, np.cross(forward, right), forward), axis=1)
    k = np.array([[20.0, 0, 11.5], [0, 20, 8.5], [0, 0, 1]])
    return RgbdFrame(np.zeros((18, 24, 3), np.uint8), np.full((18, 24), 2.0, np.float32), k,
                     pose, 0)


@pytest.mark.parametrize("lent", ["map", "snapshot"])
def test_a_loaded_map_counts_as_all_cameras_that_saw_it(tmp_path, lent):
    """Otherwise the next frame, pitched by 45 degrees, turns the map's up by half of that."""
    pipeline = Pipeline(NoEncoder(), with_values(Config(), {"purify.embedding": "geometric"}))
    for number in range(40):
        pipeline.integrate(camera_at(2 * np.pi * number / 40, np.pi / 4))
    content = pipeline.map if lent == "map" else pipeline.lifted.snapshot()
    save_map(tmp_path / "m.safetensors", content, "none", "map", pipeline.map.up)
    loaded, _ = load_map(tmp_path / "m.safetensors")
    torch.testing.assert_close(loaded.up_sum, pipeline.map.up_sum)
    other = Pipeline(NoEncoder(), pipeline.config)
    other.replace_map(loaded)
    for one in (pipeline, other):
        one.integrate(camera_at(0.3, np.pi / 4))
    np.testing.assert_allclose(other.map.up, pipeline.map.up, atol=1e-6)
    assert other.map.up[2] > 0.999


def test_older_files_of_many_images_are_not_turned_by_one_frame(tmp_path, saved):
    """They hold the mean direction alone: pixels tell how many images there were at least."""
    assert load_map(saved)[0].up_sum.tolist() == [0, -1, 0]  # a few pixels: one camera
    voxel_map = make_map()
    voxel_map._attributes[:, 6] = 640 * 480 * 50 / len(voxel_map)
    save_map(tmp_path / "old.safetensors", voxel_map, "none", "map", (0.0, 0.0, 1.0))
    assert load_map(tmp_path / "old.safetensors")[0].up_sum[2] == pytest.approx(50, rel=1e-3)


def purified_map(count=2000, width=96, rank=66):
    """A map whose features use few directions, purified."""
    config = with_values(Config(), {"purify.embedding": "geometric", "purify.iterations": 3})
    generator = torch.Generator().manual_seed(3)
    voxel_map = make_map(count, width)
    vectors = torch.linalg.qr(torch.randn((width, rank), generator=generator)).Q
    features = torch.randn((count, rank), generator=generator) @ vectors.T
    voxel_map.replace_features(features.half().split(CHUNK_ROWS))
    pipeline = Pipeline(Texts(width), config)
    pipeline.replace_map(voxel_map)
    pipeline.purify()
    return pipeline


class Texts:
    id, logit_scale = "texts", 5.0

    def __init__(self, width):
        self.feature_dim = width

    def encode_text(self, texts):
        generator = torch.Generator().manual_seed(4)
        return torch.randn((len(texts), self.feature_dim), generator=generator)


def test_a_map_brings_its_basis_and_gives_the_same_labels_bit_by_bit(tmp_path):
    """Also where the map has grown since: another basis would fit it as well."""
    pipeline, path = purified_map(), tmp_path / "m.safetensors"
    basis = pipeline.map.basis
    assert basis.shape == (96, 66)
    pipeline.map.basis = torch.linalg.qr(basis[:, torch.randperm(66)]).Q.contiguous()
    pipeline.purify()
    asked = TextQuery(("a", "b"), ("c", "d"), 0.2)
    expected = pipeline.query(asked)
    assert save_map(path, pipeline.map, "texts", "map").format_version == 3
    loaded, _ = load_map(path, "texts")
    assert torch.equal(loaded.basis, pipeline.map.basis)
    other = Pipeline(pipeline.encoder, pipeline.config)
    other.replace_map(loaded)
    other.purify()
    found = other.query(asked)
    for one, two in ((found.raw, expected.raw), (found.pooled, expected.pooled)):
        assert torch.equal(one.label, two.label)
        assert torch.equal(one.score, two.score)
    assert torch.equal(other.result.values, pipeline.result.values)


def test_a_basis_that_was_changed_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    pipeline = purified_map()
    for bad in (pipeline.map.basis * 1.1, pipeline.map.basis[:-1]):
        pipeline.map.basis = bad.contiguous()
        save_map(path, pipeline.map, "texts", "map")
        with pytest.raises(InputError, match="basis of the features"):
            load_map(path)
