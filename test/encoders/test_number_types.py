"""Encoders in a number type that was asked for: near float32, never measured, or refused."""

from __future__ import annotations

import logging

import pytest
import torch

from geopurify_ros.cli.options import sample_room
from geopurify_ros.config import Config, settings
from geopurify_ros.core.mapping.encoder import dtype_name, encode_frame
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.encoders import builtin, load_encoder, openclip, precision
from geopurify_ros.encoders.image_tower import ImageTower
from geopurify_ros.encoders.none import NoEncoder
from geopurify_ros.encoders.openclip import import_open_clip
from geopurify_ros.encoders.precision import NUMBER_TYPES, tried
from geopurify_ros.errors import ConfigError

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
# cosines with the features of float32: on average, at the least
NEAR = {"float32": (1 - 1e-6, 1 - 1e-5), "bfloat16": (0.99, 0.92), "float16": (0.9999, 0.999)}
# of random weights
NEAR_OPEN_CLIP = {"float32": 1 - 1e-5, "bfloat16": 0.998, "float16": 0.9999}


@pytest.fixture(autouse=True)
def never_measured(monkeypatch, tmp_path):
    """No type that is asked for is picked, looked up or remembered."""
    monkeypatch.setenv("GEOPURIFY_CACHE", str(tmp_path / "cache"))
    for module in (builtin, openclip):
        monkeypatch.setattr(module, "pick_dtype", lambda *_: pytest.fail("measured"))
    yield
    assert not (tmp_path / "cache").exists()


@pytest.fixture(scope="module")
def frame():
    return Sequence(sample_room()).frame(10)


@pytest.fixture(scope="module", params=["ViT-S-32", "ViT-S-32+naclip", "RN50", "MobileCLIP-S1"])
def open_clip_name(request, tmp_path_factory):
    """Name of an encoder with random weights in a file."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns of random weights
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    model = import_open_clip().create_model(request.param.removesuffix("+naclip"))
    torch.save(model.state_dict(), path)
    yield f"open_clip:{request.param}:{path}"
    logging.getLogger().setLevel(level)


def in_type(name, frame, dtype, use_depth=True):
    """Features in a type, and what the encoder says of itself."""
    encoder = load_encoder(name, CPU, dtype)
    assert encoder.dtype == NUMBER_TYPES[dtype]
    assert dtype_name(encoder) == dtype
    features = encode_frame(encoder, frame, CPU, use_depth)
    assert features.dtype == torch.float32
    assert torch.isfinite(features).all()
    return features


def test_the_parameter_offers_the_types_there_are():
    assert settings(Config())["encoder.dtype"].choices == ("auto", *NUMBER_TYPES)
    assert Config().encoder.dtype == "auto"


@pytest.mark.parametrize("use_depth", [True, False])
def test_builtin_in_each_type_is_near_float32(frame, use_depth):
    full = in_type("builtin", frame, "float32", use_depth)
    for dtype, (mean, least) in NEAR.items():
        likeness = (full * in_type("builtin", frame, dtype, use_depth)).sum(dim=1)
        assert likeness.mean() > mean, dtype
        assert likeness.min() > least, dtype


def test_open_clip_in_each_type_is_near_float32(open_clip_name, frame):
    full = in_type(open_clip_name, frame, "float32")
    for dtype, least in NEAR_OPEN_CLIP.items():
        assert (full * in_type(open_clip_name, frame, dtype)).sum(dim=1).min() > least, dtype


@pytest.mark.parametrize("open_clip_name", ["ViT-S-32"], indirect=True)
def test_texts_are_the_same_in_each_type(open_clip_name, monkeypatch):
    """Their towers stay in float32."""
    monkeypatch.setattr(openclip, "cached_text", lambda _, __, make: make())
    monkeypatch.setattr(builtin, "cached_text", lambda _, __, make: make())
    for name in ("builtin", open_clip_name):
        full, half = (load_encoder(name, CPU, t).encode_text(("chair", "стул"))
                      for t in ("float32", "float16"))
        assert torch.equal(full, half)


def test_another_type_is_refused_with_the_choices():
    with pytest.raises(ConfigError) as caught:
        load_encoder("builtin", CPU, "int8")
    assert str(caught.value) == (
        "encoder.dtype is 'int8', expected one of auto, float32, bfloat16, float16")


def lacks_half(*_):
    raise RuntimeError('"slow_conv2d" not implemented\nfor \'Half\'')


def test_a_device_that_cannot_compute_is_told_when_the_encoder_is_loaded(monkeypatch):
    monkeypatch.setattr(ImageTower, "forward", lacks_half)
    with pytest.raises(ConfigError) as caught:
        load_encoder("builtin", CPU, "float16")
    assert str(caught.value).startswith("the encoder builtin")
    assert str(caught.value).endswith(
        "cannot compute in float16 on cpu (\"slow_conv2d\" not implemented for 'Half'): "
        "set encoder.dtype to auto")


@pytest.mark.parametrize("open_clip_name", ["ViT-S-32"], indirect=True)
def test_so_is_one_that_cannot_compute_a_model_of_open_clip(open_clip_name, monkeypatch):
    monkeypatch.setattr(openclip.OpenClipEncoder, "encode_image", lacks_half)
    with pytest.raises(ConfigError, match=r"cannot compute in bfloat16 on cpu .* to auto"):
        load_encoder(open_clip_name, CPU, "bfloat16")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(value):
    with pytest.raises(ConfigError, match=r"in float16 on cpu \(its features are not finite\)"):
        tried("a", torch.float16, CPU, lambda: torch.tensor([1.0, value]))


def test_an_encoder_that_does_not_say_its_type_has_an_unknown_one():
    assert dtype_name(NoEncoder()) == "unknown"


def test_what_is_remembered_does_not_matter_to_a_type_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(precision, "_read", lambda _: pytest.fail("looked up"))
    monkeypatch.setattr(precision, "_write", lambda *_: pytest.fail("remembered"))
    assert dtype_name(load_encoder("builtin", CPU, "bfloat16")) == "bfloat16"
