"""Encoders: what every image and text may expect of them, without the network."""

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from geopurify_ros.cli import sample_room
from geopurify_ros.data.sequence import Sequence
from geopurify_ros.encoders import load_encoder, pick_device
from geopurify_ros.encoders.openclip import OpenClipEncoder
from geopurify_ros.encoders.text_cache import cache_folder, cached_text
from geopurify_ros.encoders.torchvision_shim import ensure_torchvision
from geopurify_ros.errors import CheckpointError, ConfigError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def builtin():
    return load_encoder("builtin", CPU)


@pytest.fixture(scope="module")
def clip():
    """ViT-B-32 with random weights: everything but the meaning."""
    ensure_torchvision()
    open_clip = importlib.import_module("open_clip")
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32")
    return OpenClipEncoder(model, open_clip.get_tokenizer("ViT-B-32"), "ViT-B-32:random")


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


@pytest.mark.parametrize(("size", "grid"), [
    ((224, 224), (7, 7)),
    ((480, 640), (15, 20)),
    ((101, 77), (3, 2)),
    ((64, 333), (2, 10)),
    ((5, 5), (1, 1)),
])
def test_open_clip_features_are_unit_vectors_per_patch(clip, size, grid):
    features = clip.encode_image(image(*size))
    assert features.shape == (1, 512, *grid)
    assert_unit(features)
    assert torch.equal(clip.encode_image(image(*size)), features)


def test_open_clip_features_are_the_values_of_the_last_block(clip):
    """MaskCLIP: the last attention without mixing; the reference takes the tokens of open_clip."""
    visual = clip._model.visual
    last = visual.transformer.resblocks[-1]
    seen = []
    hook = last.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0]))
    picture = image(224, 224)
    mean = torch.tensor(visual.image_mean).view(1, 3, 1, 1)
    std = torch.tensor(visual.image_std).view(1, 3, 1, 1)
    with torch.inference_mode():
        visual((picture - mean) / std)
        hook.remove()
        tokens = last.ln_1(seen[0])
        value_rows = slice(2 * 768, 3 * 768)
        values = (tokens @ last.attn.in_proj_weight[value_rows].T
                  + last.attn.in_proj_bias[value_rows])
        projected = visual.ln_post(last.attn.out_proj(values)) @ visual.proj
    expected = normalize(projected[0, 1:], dim=1)  # (49, 512), row after row
    found = clip.encode_image(picture)[0].flatten(1).T
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_open_clip_text_is_the_mean_over_the_templates(clip):
    texts = ("chair", "стул", "word " * 100)
    found = clip.encode_text(texts)
    assert found.shape == (3, 512)
    assert_unit(found)
    tokens = clip._tokenizer(
        ["a photo of a chair.", "a photo of the chair.", "a chair in a scene.",
         "a chair in a room."])
    with torch.inference_mode():
        rows = normalize(clip._model.encode_text(tokens), dim=1)
    torch.testing.assert_close(found[0], normalize(rows.mean(dim=0), dim=0), rtol=0, atol=1e-5)


def test_open_clip_takes_its_weights_from_a_file(clip, tmp_path):
    """Two files are two encoders, whatever they are called; the same file is the same one."""
    path = tmp_path / "weights.pt"
    torch.save(clip._model.state_dict(), path)
    loaded = load_encoder(f"open_clip:ViT-B-32:{path}", CPU)
    assert loaded.id.startswith("open_clip:ViT-B-32:weights.pt@")
    picture = image(64, 64)
    assert torch.equal(loaded.encode_image(picture), clip.encode_image(picture))


def test_open_clip_models_without_a_plain_vit_are_refused():
    model = SimpleNamespace(visual=SimpleNamespace(), eval=lambda: model)
    with pytest.raises(ConfigError, match="RN50:x has no plain ViT image tower"):
        OpenClipEncoder(model, None, "RN50:x")


@pytest.mark.parametrize(("name", "kind", "sentence"), [
    ("clip", ConfigError, "there is no encoder 'clip': use builtin, or open_clip"),
    ("", ConfigError, "there is no encoder ''"),
    ("open_clip:ViT-B-32", ConfigError, "is not of the form open_clip:<model>:<tag"),
    ("open_clip::", ConfigError, "is not of the form"),
    ("open_clip:ViT-Z-1:openai", ConfigError, "open_clip has no model 'ViT-Z-1'"),
    ("open_clip:ViT-B-32:nowhere.pt", CheckpointError, "neither a file nor a tag of ViT-B-32"),
])
def test_encoders_that_do_not_exist_are_named(name, kind, sentence):
    with pytest.raises(kind, match=sentence) as caught:
        load_encoder(name, CPU)
    assert "\n" not in str(caught.value)


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"weights.pt' of ViT-B-32 could not be loaded"):
        load_encoder(f"open_clip:ViT-B-32:{path}", CPU)


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
