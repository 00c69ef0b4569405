"""Weights of open_clip models: files, tags in the cache, and what is said where there are none."""

import importlib
import sys
import time
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from clip_models import image

from geopurify_ros.encoders import load_encoder, openclip, openclip_weights
from geopurify_ros.encoders.openclip import OpenClipEncoder, import_open_clip
from geopurify_ros.errors import CheckpointError, ConfigError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quiet_and_own_cache")]
CPU = torch.device("cpu")


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors"])
def test_weights_come_from_a_file(made, monkeypatch, tmp_path, suffix):
    """Two files are two encoders, whatever they are called; the same file is the same one."""
    monkeypatch.setattr(openclip, "pick_dtype", lambda *_: torch.float32)
    of = made("ViT-S-32")
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(of.state, path)
    else:
        torch.save(of.state, path)
    loaded = load_encoder(f"open_clip:ViT-S-32:{path}", CPU)
    assert loaded.id == f"open_clip:ViT-S-32:weights{suffix}@{openclip_weights._digest(path)}"
    picture = image(64, 96)
    assert torch.equal(loaded.encode_image(picture), of.encoder.encode_image(picture))
    assert loaded.logit_scale == of.encoder.logit_scale


def test_a_file_is_read_with_the_normalization_of_its_model(made, monkeypatch, tmp_path):
    """MobileCLIP takes plain 0..1; a state dict does not say so, the table of tags does."""
    monkeypatch.setattr(openclip, "pick_dtype", lambda *_: torch.float32)
    path = tmp_path / "weights.pt"
    torch.save(made("MobileCLIP-S1").state, path)
    loaded = load_encoder(f"open_clip:MobileCLIP-S1:{path}", CPU)
    assert loaded._mean.flatten().tolist() == [0, 0, 0]
    assert loaded._std.flatten().tolist() == [1, 1, 1]
    assert openclip_weights._normalization_of("ViT-L-14") == {}  # whose tags differ
    mean = openclip_weights._normalization_of("RN50")["mean"]
    assert mean == pytest.approx((0.481, 0.458, 0.408), abs=1e-3)


def test_a_file_that_holds_no_weights_is_refused(made, tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"weights.pt' of ViT-S-16 could not be loaded"):
        load_encoder(f"open_clip:ViT-S-16:{path}", CPU)
    torch.save(made("ViT-S-32").state, path)
    with pytest.raises(CheckpointError, match="belongs to another model"):
        load_encoder(f"open_clip:ViT-S-16:{path}", CPU)


@pytest.fixture
def hub_cache(monkeypatch, tmp_path):
    """An empty Hugging Face cache."""
    import_open_clip()
    constants = importlib.import_module("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


TAG = "open_clip:ViT-B-32:laion2b_s34b_b79k"


def test_a_tag_in_the_cache_needs_no_network(made, hub_cache, monkeypatch):
    monkeypatch.setattr(openclip, "pick_dtype", lambda *_: torch.float32)
    monkeypatch.setattr(openclip_weights, "_hub_answers", lambda: pytest.fail("asked the hub"))
    repository = hub_cache / "models--timm--resnet50_clip.openai"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    of = made("RN50")
    safetensors.torch.save_file(of.state, snapshot / "open_clip_model.safetensors")
    loaded = load_encoder("open_clip:RN50:openai", CPU)
    assert loaded.id == "open_clip:RN50:openai"
    assert torch.equal(loaded.encode_image(image(64, 64)), of.encoder.encode_image(image(64, 64)))


@pytest.mark.parametrize("tag", ["openai", "laion2b_s34b_b79k"])
def test_a_tag_brings_its_activation(monkeypatch, tag):
    """OpenAI's weights want QuickGELU, LAION's do not, whatever the model is called."""
    import_open_clip()
    table = importlib.import_module("open_clip.pretrained")
    config = table.get_pretrained_cfg("ViT-B-32", tag)
    asked = {}
    spy = SimpleNamespace(create_model=lambda _name, **settings: asked.update(settings))
    openclip._load(spy, "ViT-B-32", openclip_weights.Weights("file", tag, config), CPU)
    assert asked["force_quick_gelu"] is (tag == "openai")


def assert_one_sentence_of_help(error, cache):
    for part in ("laion2b_s34b_b79k", str(cache), "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
                 "open_clip:ViT-B-32:<path>", "builtin"):
        assert part in str(error)
    assert "\n" not in str(error)


def test_missing_weights_are_named_at_once_without_a_network(hub_cache, monkeypatch, caplog):
    """A host that never answers costs the time of the probe, and no retries."""
    monkeypatch.setattr(openclip_weights, "_PROBE_S", 0.2)
    huggingface_hub = importlib.import_module("huggingface_hub")
    silent = SimpleNamespace(head=lambda *_args, **_kwargs: time.sleep(5))
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: silent)
    start = time.monotonic()
    with pytest.raises(CheckpointError, match="cannot be reached") as caught:
        load_encoder(TAG, CPU)
    assert time.monotonic() - start < 3
    assert_one_sentence_of_help(caught.value, hub_cache)
    assert not caplog.records


def test_missing_weights_are_named_when_the_hub_is_forbidden(hub_cache, monkeypatch):
    constants = importlib.import_module("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE forbids") as caught:
        load_encoder(TAG, CPU)
    assert_one_sentence_of_help(caught.value, hub_cache)


def test_a_download_that_fails_is_named(hub_cache, monkeypatch):
    def full(_config):
        raise OSError("no space left on device")

    monkeypatch.setattr(openclip_weights, "_hub_answers", lambda: True)
    table = importlib.import_module("open_clip.pretrained")
    monkeypatch.setattr(table, "download_pretrained", full)
    with pytest.raises(CheckpointError, match=r"fetching them failed \(OSError\)") as caught:
        load_encoder(TAG, CPU)
    assert_one_sentence_of_help(caught.value, hub_cache)


@pytest.mark.parametrize(("name", "kind", "sentence"), [
    ("ViT-B-32", ConfigError, "is not of the form open_clip:<model>:<tag"),
    (":", ConfigError, "is not of the form"),
    ("ViT-Z-1:openai", ConfigError, "open_clip has no model 'ViT-Z-1'"),
    ("ViT-B-16-SigLIP:webli", ConfigError, "ViT-B-16-SigLIP gives no dense features here"),
    ("coca_ViT-B-32:laion2b_s13b_b90k", ConfigError, "coca_ViT-B-32 gives no dense features"),
    ("RN50+naclip:openai", ConfigError, r"RN50 is no ViT: \+naclip is for ViT"),
    ("MobileCLIP-S1+naclip:datacompdr", ConfigError, "MobileCLIP-S1 is no ViT"),
    ("ViT-B-32:nowhere.pt", CheckpointError, "neither a file nor a tag of ViT-B-32; its tags are"),
])
def test_what_cannot_be_is_refused_before_anything_is_fetched(monkeypatch, name, kind, sentence):
    monkeypatch.setattr(openclip_weights, "_hub_answers", lambda: pytest.fail("asked the hub"))
    with pytest.raises(kind, match=sentence) as caught:
        load_encoder(f"open_clip:{name}", CPU)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_cannot_be_fetched_is_named():
    """Of roberta-ViT-B-32, say."""
    def offline(_name):
        raise OSError("We couldn't connect to huggingface.co\nto load the files")

    with pytest.raises(CheckpointError, match="the tokenizer of X is not in the Hugging"):
        openclip._tokenizer(SimpleNamespace(get_tokenizer=offline), "X")


def test_towers_without_dense_features_are_refused():
    model = SimpleNamespace(visual=SimpleNamespace(), eval=lambda: model)
    with pytest.raises(ConfigError, match="Odd:x gives no dense features here"):
        OpenClipEncoder(model, None, "Odd:x")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(CheckpointError, match=r"missing \(open_clip\): pip install open_clip"):
        load_encoder("open_clip:ViT-B-32:openai", CPU)
