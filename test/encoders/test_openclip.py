"""open_clip encoders with random weights: everything but the meaning, and no network."""

import importlib
import logging
import sys
from types import ModuleType

import pytest
import torch
from clip_models import image, random_model
from torch.nn.functional import normalize

from geopurify_ros.core.mapping.encoder import Profiled, Vocabulary
from geopurify_ros.encoders import (
    cost,
    load_encoder,
    openclip,
    openclip_dense,
    openclip_text,
    text_cache,
)
from geopurify_ros.encoders.household import household
from geopurify_ros.encoders.openclip import OpenClipEncoder
from geopurify_ros.encoders.openclip_precision import trial_of
from geopurify_ros.encoders.precision import GLANCE_PX, TRIAL_PX
from geopurify_ros.encoders.torchvision_shim import ensure_torchvision

CPU = torch.device("cpu")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quiet_and_own_cache")]
MODELS = ("ViT-B-32", "ViT-B-16", "RN50", "MobileCLIP-S1")


def assert_unit(features, dim=1):
    assert features.dtype == torch.float32
    assert (features.norm(dim=dim) - 1).abs().max() < 1e-5  # fails on NaN too


def ordinary_pooling(visual, normalised):
    """Our own forward with the model's pooling put back where we leave it out."""
    if hasattr(visual, "trunk"):
        return openclip_dense.conv_features(visual, normalised).mean(dim=(2, 3))
    if hasattr(visual, "attnpool"):
        return visual.attnpool(openclip_dense.resnet_maps(visual, normalised))
    tokens = visual.transformer.resblocks[-1](openclip_dense.vit_tokens(visual, normalised))
    return visual.ln_post(tokens[:, 0]) @ visual.proj


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_with_the_ordinary_pooling_we_are_encode_image(made, name):
    of = made(name)
    found = ordinary_pooling(of.visual, of.image)
    torch.testing.assert_close(normalize(found), normalize(of.expected), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_position_embeddings_are_interpolated_as_open_clip_does(made):
    """A model made for 160 x 224 px, with the weights of the one for 224 x 224."""
    of = made("ViT-S-32")
    wide = random_model("ViT-S-32", force_image_size=(160, 224))
    state = dict(of.state)
    importlib.import_module("open_clip.model").resize_pos_embed(state, wide)
    wide.load_state_dict(state)
    picture = image(160, 224)
    found = ordinary_pooling(of.visual, picture)
    torch.testing.assert_close(
        normalize(found), normalize(wide.encode_image(picture)), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_a_vit_gives_the_values_of_its_last_block(made, clip):
    """MaskCLIP: the reference takes the tokens of open_clip itself."""
    visual = made("ViT-B-32").visual
    last = visual.transformer.resblocks[-1]
    seen = []
    hook = last.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0]))
    picture = image(224, 224)
    mean = torch.tensor(visual.image_mean).view(1, 3, 1, 1)
    std = torch.tensor(visual.image_std).view(1, 3, 1, 1)
    visual((picture - mean) / std)
    hook.remove()
    rows = slice(2 * 768, 3 * 768)
    values = (last.ln_1(seen[0]) @ last.attn.in_proj_weight[rows].T + last.attn.in_proj_bias[rows])
    projected = visual.ln_post(last.attn.out_proj(values)) @ visual.proj
    expected = normalize(projected[0, 1:], dim=1)  # (49, 512), row after row
    found = clip.encode_image(picture)[0].flatten(1).T
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_a_resnet_gives_what_its_pooling_would_average():
    """Without queries the pooling weighs all cells alike; without positions it sees ours."""
    model = random_model("RN50")
    pool = model.visual.attnpool
    for parameter in (pool.q_proj.weight, pool.q_proj.bias, pool.positional_embedding):
        parameter.zero_()
    picture = image(224, 224)
    pooled = model.encode_image(picture)
    found = openclip_dense.resnet_features(model.visual, picture)
    torch.testing.assert_close(found.mean(dim=(2, 3)), pooled, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_neighbour_attention_is_that_of_naclip(made):
    """Likeness of keys plus exp(-d^2 / (2 * 5^2)) of the distance in patches, by hand."""
    block = made("ViT-B-32").visual.transformer.resblocks[-1]
    height, width, heads = 3, 4, block.attn.num_heads
    tokens = torch.randn((1, 1 + height * width, 768), generator=torch.Generator().manual_seed(1))
    found = openclip_dense.neighbour_attention(block, tokens, (height, width))
    projected = block.ln_1(tokens)[0] @ block.attn.in_proj_weight.T + block.attn.in_proj_bias
    _, keys, values = (part.unflatten(1, (heads, -1)) for part in projected.chunk(3, dim=1))
    for row, column in ((0, 0), (1, 2), (2, 3)):
        asking = 1 + row * width + column
        logits = (keys * keys[asking]).sum(dim=2) / (768 / heads) ** 0.5  # (13, heads)
        for other in range(height * width):
            squared = (other // width - row) ** 2 + (other % width - column) ** 2
            logits[1 + other] += torch.exp(torch.tensor(-squared / 50.0))
        mixed = (logits.softmax(dim=0)[..., None] * values).sum(dim=0).flatten()
        torch.testing.assert_close(
            found[0, asking - 1], block.attn.out_proj(mixed), rtol=1e-4, atol=1e-5)


def test_naclip_is_an_option_of_the_name(made, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(made("ViT-S-32").state, path)
    loaded = load_encoder(f"open_clip:ViT-S-32+naclip:{path}", CPU)
    assert loaded.id.startswith("open_clip:ViT-S-32+naclip:weights.pt@")
    picture = image(96, 200)
    features = loaded.encode_image(picture)
    assert features.shape == (1, 384, 3, 6)
    assert_unit(features)
    assert (features - made("ViT-S-32").encoder.encode_image(picture)).abs().max() > 0.05


@pytest.mark.parametrize(("name", "size", "grid"), [
    ("ViT-B-32", (224, 224), (7, 7)),
    ("ViT-B-32", (480, 640), (15, 20)),
    ("ViT-B-32", (720, 1280), (13, 23)),  # large images are scaled down
    ("ViT-B-32", (64, 333), (2, 10)),
    ("ViT-B-32", (5, 5), (1, 1)),
    ("ViT-B-16", (101, 77), (6, 5)),
    ("RN50", (101, 77), (3, 2)),
    ("RN50", (1, 300), (1, 9)),
    ("MobileCLIP-S1", (240, 320), (8, 10)),
    ("MobileCLIP-S1", (101, 77), (3, 2)),
    ("MobileCLIP-S1", (5, 5), (1, 1)),
])
def test_any_image_gives_unit_vectors_per_cell(made, name, size, grid):
    encoder = made(name).encoder
    features = encoder.encode_image(image(*size))
    assert features.shape == (1, encoder.feature_dim, *grid)
    assert_unit(features)
    assert torch.equal(encoder.encode_image(image(*size)), features)


@pytest.mark.parametrize("name", MODELS)
def test_a_change_of_the_image_is_felt_where_it_is(made, name):
    """Rows and columns are not mixed up: a square drawn top right changes the cells there most."""
    encoder = made(name).encoder
    plain = torch.full((1, 3, 256, 384), 0.5)
    drawn = plain.clone()
    drawn[:, :, :64, 320:] = image(64, 64)
    change = (encoder.encode_image(drawn) - encoder.encode_image(plain)).norm(dim=1)[0]
    row, column = divmod(int(change.argmax()), change.shape[1])
    assert row < change.shape[0] / 2  # MobileCLIP's last convolutions are wide
    assert column >= change.shape[1] * 3 / 4


def test_text_is_the_mean_over_the_templates(clip):
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


def test_each_text_is_computed_once_per_encoder_and_templates(clip, monkeypatch, tmp_path):
    """A prompt added to a list costs one prompt; other templates make other vectors."""
    monkeypatch.setenv("GEOPURIFY_CACHE", str(tmp_path))
    calls = []
    tower = openclip.encode_tokens
    monkeypatch.setattr(
        openclip, "encode_tokens", lambda model, t: calls.append(1) or tower(model, t))
    first = clip.encode_text(("chair", "table"))
    assert torch.equal(clip.encode_text(("table", "sofa", "chair"))[[2, 0]], first)
    assert len(calls) == 3 == len(list(text_cache.cache_folder().iterdir()))
    monkeypatch.setattr(openclip, "TEMPLATES", ("{}",))
    assert not torch.equal(clip.encode_text(("chair",))[0], first[0])


@pytest.mark.parametrize("name", ["ViT-S-32", "RN50", "MobileCLIP-S1"])
def test_bfloat16_features_are_those_of_float32(made, name):
    picture = image(96, 128)
    half = OpenClipEncoder(random_model(name), None, "half", dtype=torch.bfloat16)
    found = half.encode_image(picture)
    assert {p.dtype for p in half._model.visual.parameters()} == {torch.bfloat16}
    assert_unit(found)
    assert (found * made(name).encoder.encode_image(picture)).sum(dim=1).min() > 0.998


def test_a_trial_leaves_the_model_as_it_was(made):
    tower = made("RN50").encoder._tower
    trial = trial_of(tower)
    assert all(torch.isfinite(trial(torch.bfloat16, px)()).all() for px in (GLANCE_PX, TRIAL_PX))
    assert {p.dtype for p in tower.visual.parameters()} == {torch.float32}


def test_the_cost_table_marks_the_type_that_is_picked(monkeypatch, capsys):
    monkeypatch.setattr(openclip, "pick_dtype", lambda *_: torch.float32)
    monkeypatch.setattr(cost, "SIZES", ((32, 64), (64, 64)))
    threads, level = torch.get_num_threads(), logging.getLogger().level
    try:
        cost.main(["ViT-S-32"], repeats=1)
    finally:
        torch.set_num_threads(threads)
        logging.getLogger().setLevel(level)
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split()[:2] for row in rows] == [["*ViT-S-32", "float32"],
                                                 ["ViT-S-32", "bfloat16"]]
    assert "(  2x1)" in rows[0]


def test_the_shim_does_nothing_where_torchvision_is_sound(monkeypatch):
    sound = ModuleType("torchvision")
    monkeypatch.setitem(sys.modules, "torchvision", sound)
    monkeypatch.setattr(torch.library, "Library", lambda *_: pytest.fail("declared operators"))
    assert ensure_torchvision() is False
    assert sys.modules["torchvision"] is sound


def test_a_full_disk_leaves_no_halves_in_the_text_cache(monkeypatch, tmp_path):
    def full(_file, _array):
        raise OSError("no space left on device")

    monkeypatch.setenv("GEOPURIFY_CACHE", str(tmp_path))
    monkeypatch.setattr(text_cache.np, "save", full)
    expected = torch.ones(1, 3)
    assert torch.equal(text_cache.cached_text("a", ("chair",), lambda: expected), expected)
    assert not list(tmp_path.iterdir())


def test_it_names_the_things_of_a_household_and_nobody_calibrated_it(clip):
    assert isinstance(clip, Vocabulary)
    assert isinstance(clip, Profiled)
    assert (clip.vocabulary, clip.answer_profile) == household()
    assert not clip.answer_profile.is_calibrated


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_texts_without_their_padding_are_those_of_open_clip(made, name):
    """Where a tower is not causal, or of another make, it gets all that it asks for."""
    model = made(name).encoder._model
    tokens = openclip.import_open_clip().get_tokenizer(name)(["a chair.", "", "one " * 100])
    for some in (tokens, tokens[:1]):
        torch.testing.assert_close(
            openclip_text.encode_tokens(model, some), model.encode_text(some), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_a_tower_that_looks_ahead_sees_the_padding(made, monkeypatch):
    model = made("ViT-B-32").encoder._model
    monkeypatch.setattr(model, "attn_mask", torch.zeros_like(model.attn_mask))
    tokens = openclip.import_open_clip().get_tokenizer("ViT-B-32")(["a chair."])
    assert torch.equal(openclip_text.encode_tokens(model, tokens), model.encode_text(tokens))
