"""Encoders: what every image and text may expect of them, without the network."""

import importlib
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from geopurify_ros.cli import sample_room
from geopurify_ros.data.sequence import Sequence
from geopurify_ros.encoders import load_encoder, pick_device
from geopurify_ros.encoders.text_cache import cache_folder, cached_text
from geopurify_ros.encoders.torchvision_shim import ensure_torchvision
from geopurify_ros.errors import CheckpointError, ConfigError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def builtin():
    return load_encoder("builtin", CPU)


def image(height, width, seed=0):
    return torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(seed))


def assert_unit(features, dim=1):
    assert features.dtype == torch.float32
    assert torch.isfinite(features).all()
    assert (features.norm(dim=dim) - 1).abs().max() < 1e-5


@pytest.mark.parametrize(("size", "grid"), [
    ((480, 640), (15, 20)),
    ((240, 320), (15, 20)),  # small images are enlarged
    ((64, 64), (15, 15)),
    ((101, 77), (20, 15)),
    ((1, 1), (15, 15)),
    ((20, 2000), (15, 60)),  # capped: it would cost without end
])
def test_builtin_features_are_unit_vectors_on_a_grid(builtin, size, grid):
    features = builtin.encode_image(image(*size))
    assert features.shape == (1, 384, *grid)
    assert_unit(features)


@pytest.mark.parametrize("picture", [
    torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64), image(64, 64, seed=1)],
    ids=["black", "white", "noise"])
def test_builtin_is_finite_and_deterministic_on_any_image(builtin, picture):
    features = builtin.encode_image(picture)
    assert_unit(features)
    assert torch.equal(builtin.encode_image(picture), features)


def test_builtin_features_are_names_weighted_by_probability(builtin):
    """The ten likeliest class names of a cell, by hand."""
    picture = image(480, 480, seed=2)  # 15 x 15 cells without scaling
    with torch.inference_mode():
        maps = builtin._classifier.extract_features((picture * 255 - 127) / 128)
        found = builtin.encode_image(picture)
        for row, column in ((0, 0), (7, 3), (14, 14)):
            chances = torch.softmax(builtin._classifier._fc(maps[0, :, row, column]), dim=0)
            expected = sum(chances[i] * builtin._class_vectors[i]
                           for i in chances.argsort(descending=True)[:10].tolist())
            torch.testing.assert_close(
                found[0, :, row, column], normalize(expected, dim=0), rtol=0, atol=1e-4)


def test_builtin_text_is_in_the_space_of_the_images(builtin):
    text = builtin.encode_text(("sofa", "couch", "стул", "x" * 200))
    assert text.shape == (4, builtin.feature_dim)
    assert_unit(text)
    assert text[0] @ text[1] > text[0] @ text[2]  # words of one meaning are near


def test_builtin_finds_the_piano_of_the_sample_room(builtin):
    """Cells on the piano are nearer to its name than the rest of the same image."""
    sequence = Sequence(sample_room())
    piano_id = next(i for i, name in sequence.class_names.items() if name == "piano")
    counts = [int((sequence.label(i) == piano_id).sum()) for i in range(len(sequence))]
    number = counts.index(max(counts))
    rgb = torch.from_numpy(sequence.frame(number).rgb).permute(2, 0, 1)[None] / 255.0
    features = builtin.encode_image(rgb)[0]
    likeness = torch.einsum("dhw,d->hw", features, builtin.encode_text(("piano",))[0])
    mask = torch.from_numpy(sequence.label(number) == piano_id)[None, None].float()
    share = torch.nn.functional.interpolate(mask, tuple(likeness.shape), mode="area")[0, 0]
    assert (share > 0.9).sum() >= 10
    assert likeness[share > 0.9].mean() > likeness[share == 0].mean() + 0.1


@pytest.mark.parametrize(("name", "kind", "sentence"), [
    ("clip", ConfigError, "there is no encoder 'clip': use builtin, or open_clip"),
    ("", ConfigError, "there is no encoder ''"),
])
def test_encoders_that_do_not_exist_are_named(name, kind, sentence):
    with pytest.raises(kind, match=sentence) as caught:
        load_encoder(name, CPU)
    assert "\n" not in str(caught.value)


def test_a_missing_wheel_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(CheckpointError, match=r"missing \(efficientnet_lite_pytorch\): pip inst"):
        load_encoder("builtin", CPU)


def test_devices():
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "", "cuda:99"):
        with pytest.raises(ConfigError, match=f"the device '{name}' cannot be used here"):
            pick_device(name)


class Counted:
    """A text tower that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return torch.arange(6.0).view(2, 3)


TEXTS = ("chair", "стул")


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOPURIFY_CACHE", str(tmp_path / "texts"))
    return tmp_path / "texts"


def test_texts_are_computed_once_per_encoder(own_cache):
    tower = Counted()
    first = cached_text("a", TEXTS, tower)
    assert torch.equal(cached_text("a", TEXTS, tower), first)
    assert tower.calls == 1
    cached_text("b", TEXTS, tower)
    cached_text("a", TEXTS[::-1], tower)
    assert tower.calls == 3
    assert len(list(own_cache.iterdir())) == 3  # and no temporary file


def npy(array):
    return lambda path: np.save(path, array)


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(path.read_bytes()[:-4]),
    lambda path: path.write_bytes(path.read_bytes()[:20]),
    lambda path: path.write_bytes(b"\x93NUMPY\x01\x00" + b"{[(" * 100),
    lambda path: path.write_bytes(b"PK\x03\x04 no archive either"),
    npy(np.full((2, 3), np.nan, dtype=np.float32)),
    npy(np.zeros((3, 3), dtype=np.float32)),
    npy(np.zeros(2, dtype=np.float32)),
    npy(np.array([["a", "b", "c"]] * 2)),
    npy(np.array([[{}, 1, 2]] * 2, dtype=object)),
])
def test_a_damaged_cache_file_is_repaired(own_cache, damage):
    tower = Counted()
    expected = cached_text("a", TEXTS, tower)
    (path,) = own_cache.iterdir()
    damage(path)
    assert torch.equal(cached_text("a", TEXTS, tower), expected)
    assert tower.calls == 2
    assert torch.equal(cached_text("a", TEXTS, tower), expected)
    assert tower.calls == 2  # whole again
    assert list(own_cache.iterdir()) == [path]


def test_a_cache_that_cannot_be_written_is_only_slower(own_cache):
    own_cache.write_text("a file where the folder should be")
    tower = Counted()
    assert cached_text("a", TEXTS, tower).shape == (2, 3)
    assert cached_text("a", TEXTS, tower).shape == (2, 3)
    assert tower.calls == 2


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("GEOPURIFY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "geopurify_ros"


def test_the_torchvision_shim_does_nothing_the_second_time():
    ensure_torchvision()
    before = sys.modules["torchvision"]
    assert ensure_torchvision() is False
    assert sys.modules["torchvision"] is before


def test_the_shim_leaves_other_import_errors_alone(monkeypatch):
    def broken(_name):
        raise RuntimeError("something else is wrong")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="something else"):
        ensure_torchvision()
