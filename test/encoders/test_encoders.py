"""Encoders: what every image and text may expect of them, without the network."""

import importlib
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from geopurify_ros.cli.options import sample_room
from geopurify_ros.core.mapping.encoder import encode_frame
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.encoders import load_encoder, pick_device
from geopurify_ros.encoders.builtin import BUILTIN_FILE, BuiltinEncoder
from geopurify_ros.encoders.builtin_file import _fold_norms
from geopurify_ros.encoders.image_tower import Decoder, ImageTower
from geopurify_ros.encoders.text_cache import cache_folder, cached_text
from geopurify_ros.encoders.torchvision_shim import ensure_torchvision
from geopurify_ros.errors import CheckpointError, ConfigError
from geopurify_ros.train.rooms.classes import room_classes
from geopurify_ros.train.text.phrases import text_probes

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
    ((480, 640), (96, 128)),
    ((240, 320), (80, 104)),
    ((64, 64), (80, 80)),  # small images are enlarged
    ((1080, 1920), (96, 168)),
    ((101, 77), (104, 80)),
    ((1, 1), (80, 80)),
    ((20, 2000), (80, 320)),  # capped: it would cost without end
])
def test_builtin_features_are_unit_vectors_on_a_grid(builtin, size, grid):
    features = builtin.encode_image(image(*size))
    assert features.shape == (1, builtin.feature_dim, *grid)
    assert_unit(features)


@pytest.mark.parametrize("picture", [
    torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64), image(64, 64, seed=1)],
    ids=["black", "white", "noise"])
def test_builtin_is_finite_and_deterministic_on_any_image(builtin, picture):
    features = builtin.encode_image(picture)
    assert_unit(features)
    assert torch.equal(builtin.encode_image(picture), features)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_builtin_does_not_depend_on_the_batch(dtype):
    encoder = BuiltinEncoder(CPU, dtype=dtype)
    pictures = torch.cat([image(96, 128, seed=k) for k in range(3)])
    alone = torch.cat([encoder.encode_image(picture[None]) for picture in pictures])
    torch.testing.assert_close(encoder.encode_image(pictures), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("use_depth", [True, False])
def test_builtin_in_bfloat16_is_near_float32(builtin, use_depth):
    """Half precision within a stated tolerance, on a real frame and not on noise alone.

    Cosines above 0.985 on average and 0.92 everywhere, 95 % of the labels the same.
    """
    sequence = Sequence(sample_room())
    frame = sequence.frame(10)
    full, half = (encode_frame(BuiltinEncoder(CPU, dtype=d), frame, CPU, use_depth)
                  for d in (torch.float32, torch.bfloat16))
    likeness = (full * half).sum(dim=1)
    assert likeness.mean() > 0.985
    assert likeness.min() > 0.92
    text = builtin.encode_text(tuple(sequence.class_names.values()))
    labels = [torch.einsum("bdhw,cd->bchw", f, text).argmax(dim=1) for f in (full, half)]
    assert (labels[0] == labels[1]).float().mean() > 0.95


def test_builtin_text_is_in_the_space_of_the_images(builtin):
    text = builtin.encode_text(("sofa", "couch", "стул", "x" * 200))
    assert text.shape == (4, builtin.feature_dim)
    assert_unit(text)
    assert text[0] @ text[1] > text[0] @ text[2]  # words of one meaning are near
    assert torch.equal(builtin.embed("sofa")[0], builtin.encode_text(("a", "sofa"))[1])


def test_builtin_understands_the_probes(builtin):
    """150 synonyms, paraphrases and typing errors that its training never saw."""
    names = tuple(room_classes())
    vectors = builtin.encode_text(tuple(text for text, _ in text_probes()))
    nearest = (vectors @ builtin.encode_text(names).T).argmax(dim=1)
    right = [names[k] == label for k, (_, label) in zip(nearest, text_probes(), strict=True)]
    assert sum(right) / len(right) >= 0.85


@pytest.mark.parametrize(("use_depth", "known", "least"), [
    (True, ("wall", "floor", "door", "sofa", "rug"), 0.7), (False, ("wall", "floor"), 0.5)])
def test_builtin_sees_the_sample_room(builtin, use_depth, known, least):
    """Most pixels of what is large get their own name among all of the sequence."""
    sequence = Sequence(sample_room())
    names = tuple(sequence.class_names.values())
    numbers = torch.tensor(list(sequence.class_names))
    text = builtin.encode_text(names)
    hit, seen = torch.zeros(256), torch.zeros(256)
    for number in range(0, len(sequence), 5):
        features = encode_frame(builtin, sequence.frame(number), CPU, use_depth)
        likeness = torch.einsum("bdhw,cd->bchw", features, text)
        truth = torch.from_numpy(sequence.label(number))
        found = numbers[torch.nn.functional.interpolate(
            likeness, tuple(truth.shape), mode="bilinear")[0].argmax(dim=0)]
        seen += torch.bincount(truth.flatten(), minlength=256)
        hit += torch.bincount(truth[truth == found].flatten(), minlength=256)
    accuracy = {name: (hit / seen)[number] for number, name in sequence.class_names.items()}
    assert min(accuracy[name] for name in known) > least


def damaged(path, tmp_path, change):
    content = bytearray(path.read_bytes())
    broken = tmp_path / "encoder.safetensors"
    broken.write_bytes(change(content))
    return broken


@torch.no_grad()
def test_one_tap_may_be_dilated():
    """Faster on one thread (builtin.py) and the same."""
    tower = BuiltinEncoder(CPU, dtype=torch.float32)._image
    single = [m for m in tower.modules()
              if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (1, 1)]
    assert {m.dilation for m in single} == {(2, 2)}
    dilated = tower(image(96, 128))
    for module in single:
        module.dilation = (1, 1)
    torch.testing.assert_close(tower(image(96, 128)), dilated, atol=1e-5, rtol=0)


def test_imagenet_s_words_are_added_to_features_of_length_one():
    tower = ImageTower(16)
    tower.knowledge_weight.fill_(0.5)
    features, words = (torch.randn(3, 16, 4, 5, generator=torch.Generator().manual_seed(k))
                       for k in (0, 1))
    expected = normalize(normalize(features, dim=1) + 0.5 * words, dim=1)
    torch.testing.assert_close(tower.combine(features, words), expected, atol=1e-6, rtol=0)


def test_norms_are_folded_into_the_convolutions():
    """What the file is run as gives what was trained."""
    torch.manual_seed(0)
    decoder = Decoder(16).eval()
    torch.nn.init.normal_(decoder.detail.weight)
    for norm in decoder.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            for values in (norm.weight.data, norm.running_var):
                values.uniform_(0.5, 2)
            for values in (norm.bias.data, norm.running_mean):
                values.normal_()
    maps = [torch.rand(1, width, 64 // stride, 96 // stride)
            for width, stride in ((24, 4), (48, 8), (120, 16), (352, 32))]
    channels = torch.rand(1, 8, 16, 24)
    expected = decoder(maps, channels)
    _fold_norms(decoder)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in decoder.modules())
    torch.testing.assert_close(decoder(maps, channels), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("change", [
    lambda content: content[:-1000], lambda content: content[:5], lambda _: b"nothing",
    lambda content: bytes(content).replace(b'geopurify"', b'geopurifX"', 1)])
def test_a_damaged_encoder_file_is_named(tmp_path, change):
    broken = damaged(BUILTIN_FILE, tmp_path, change)
    with pytest.raises(CheckpointError, match=r"cannot be read from .*: install the package ag"):
        load_encoder(str(broken), CPU)


def test_a_missing_or_future_encoder_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot be read from .*none.safetensors"):
        load_encoder(str(tmp_path / "none.safetensors"), CPU)
    future = damaged(BUILTIN_FILE, tmp_path, lambda content: bytes(content).replace(
        b'\\"format\\": 3', b'\\"format\\": 9', 1))
    with pytest.raises(CheckpointError, match="has format 9, this version reads 3"):
        load_encoder(str(future), CPU)


@pytest.mark.parametrize(("name", "kind", "sentence"), [
    ("clip", ConfigError, "there is no encoder 'clip': use builtin, or open_clip"),
    ("", ConfigError, "there is no encoder ''"),
])
def test_encoders_that_do_not_exist_are_named(name, kind, sentence):
    with pytest.raises(kind, match=sentence) as caught:
        load_encoder(name, CPU)
    assert "\n" not in str(caught.value)


def test_devices():
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "", "cuda:99"):
        with pytest.raises(ConfigError, match=f"the device '{name}' cannot be used here"):
            pick_device(name)


@pytest.mark.parametrize("fails", ["ones", "matmul"])
def test_a_card_that_does_not_work_is_not_taken(monkeypatch, caplog, fails):
    """It is there, but too old for this torch, or full, or taken by another process."""
    def broken(*_arguments, **_names):
        raise RuntimeError("CUDA error: no kernel image is available for execution\non the device")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    if fails == "ones":
        monkeypatch.setattr(torch, "ones", broken)
    else:
        monkeypatch.setattr(torch, "ones", lambda *_a, **_n: torch.zeros(8, 8))
        monkeypatch.setattr(torch.Tensor, "__matmul__", broken)
    assert pick_device("auto") == CPU
    assert "the CPU is: CUDA error: no kernel image is available" in caplog.text
    with pytest.raises(ConfigError, match="the device 'cuda' cannot be used here"):
        pick_device("cuda")


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


def header(text):
    """The head of the file says `text`, padded to the length that it had."""
    def damage(path):
        good = path.read_bytes()
        said = text.encode().ljust(117) + b"\n"
        path.write_bytes(good[:8] + (118).to_bytes(2, "little") + said + good[128:])

    return damage


def npy(array):
    return lambda path: np.save(path, array)


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(path.read_bytes()[:-4]),
    lambda path: path.write_bytes(path.read_bytes()[:20]),
    lambda path: path.write_bytes(b"\x93NUMPY\x01\x00" + b"{[(" * 100),
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1000000000000000), }"),
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), "),
    header("{'descr': 'zz', 'fortran_order': False, 'shape': (2, 3), }"),
    header("{'descr': ('<f4', ((((', 'fortran_order': 7, 'shape': -3}"),
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


def test_a_user_without_a_home_has_a_temporary_cache(monkeypatch):
    monkeypatch.delenv("GEOPURIFY_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # raises KeyError: an unknown user
    assert cache_folder() == Path(tempfile.gettempdir()) / "geopurify_ros"


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
