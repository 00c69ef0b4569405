"""Pixel scores of an encoder, on two hand-made rooms of coloured rectangles."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d, normalize

from geopurify_ros.errors import InputError
from geopurify_ros.evaluate.pixels import score_pixels

COLORS = {"wall": (1.0, 1.0, 1.0), "sofa": (1.0, 0.0, 0.0), "lamp": (0.0, 1.0, 0.0),
          "piano": (0.0, 0.0, 1.0)}
NAMES = tuple(COLORS)


class ColorEncoder:
    """Features are colours; a text is the colour of that class."""

    id = "colors"
    feature_dim = 3
    logit_scale = 10.0

    def encode_image(self, rgb):
        return normalize(avg_pool2d(rgb, 4), dim=1)

    def encode_text(self, texts):
        return normalize(torch.tensor([COLORS[t] for t in texts]), dim=1)


def write_room(folder, left, painted, right):
    """A frame whose left half is class `left` and whose right half is `right`, painted so."""
    ids = {name: k + 1 for k, name in enumerate(dict.fromkeys((left, right)))}
    color = np.zeros((32, 48, 3), np.uint8)
    color[:, :24] = np.array(COLORS[left]) * 255
    color[:, 24:] = np.array(COLORS[painted]) * 255
    label = np.full((32, 48), ids[left], np.uint8)
    label[:, 24:] = ids[right]
    for part in ("color", "depth", "pose", "intrinsic", "label"):
        (folder / part).mkdir(parents=True)
    Image.fromarray(color).save(folder / "color/0.png")
    Image.fromarray(np.full((32, 48), 1000, np.uint16)).save(folder / "depth/0.png")
    Image.fromarray(label).save(folder / "label/0.png")
    np.savetxt(folder / "pose/0.txt", np.eye(4))
    for name in ("color", "depth"):
        matrix = np.diag([40.0, 40.0, 1.0, 1.0])
        matrix[:2, 2] = 23.5, 15.5
        np.savetxt(folder / f"intrinsic/intrinsic_{name}.txt", matrix)
    names = {str(number): name for name, number in ids.items()}
    (folder / "classes.json").write_text(json.dumps({"classes": names}))
    return folder


def test_a_perfect_encoder_scores_one(tmp_path):
    room = write_room(tmp_path / "room_0", "wall", "sofa", "sofa")
    result = score_pixels(ColorEncoder(), [room], NAMES, frozenset({"piano"}))
    assert result["rooms"]["room_0"]["iou"] == {"wall": 1.0, "sofa": 1.0}
    assert result["miou"] == result["vocabulary_miou"] == 1.0
    assert result["kept_out"] == {}
    assert result["confusions"] == []


def test_scores_use_own_names_and_kept_out_ones_the_whole_vocabulary(tmp_path):
    # a piano that looks like a lamp: no lamp is asked for in this room, but in the vocabulary
    room = write_room(tmp_path / "a", "wall", "lamp", "piano")
    good = write_room(tmp_path / "b", "wall", "piano", "piano")
    result = score_pixels(ColorEncoder(), [room, good], NAMES, frozenset({"piano"}))
    assert result["rooms"]["b"]["miou"] == 1.0
    assert result["rooms"]["a"]["macc"] == 0.5  # the piano is taken for wall
    assert result["miou"] == pytest.approx((1.0 + 0.25) / 2)
    assert result["kept_out"] == {"piano": 0.5}  # that of one of the two rooms
    assert result["kept_out_mean"] == result["kept_out_pixels"] == 0.5
    assert result["confusions"] == [("piano", "lamp", 0.5)]


def test_a_folder_without_labels_or_with_strange_ones_is_named(tmp_path):
    room = write_room(tmp_path / "a", "wall", "lamp", "lamp")
    with pytest.raises(InputError, match="class 'lamp', which is no room class"):
        score_pixels(ColorEncoder(), [room], ("wall",), frozenset())
    (room / "classes.json").unlink()
    with pytest.raises(InputError, match="has no labels"):
        score_pixels(ColorEncoder(), [room], NAMES, frozenset())


@pytest.mark.parametrize("use_depth", [True, False])
def test_depth_is_handed_over_or_kept_back(tmp_path, use_depth):
    class Deep(ColorEncoder):
        def __init__(self):
            self.depths = []

        def encode_rgbd(self, rgb, depth_m, intrinsics):
            self.depths.append((depth_m.min().item(), intrinsics[0, 0].item()))
            return self.encode_image(rgb)

    encoder = Deep()
    room = write_room(tmp_path / "room_0", "wall", "sofa", "sofa")
    result = score_pixels(encoder, [room], NAMES, frozenset({"piano"}), use_depth)
    assert result["miou"] == 1.0
    assert encoder.depths == ([(1.0, 40.0)] if use_depth else [])


@pytest.mark.parametrize("number", [3, 200])
def test_numbers_above_those_of_the_classes_are_unlabelled(tmp_path, number):
    room = write_room(tmp_path / "room_0", "wall", "sofa", "sofa")
    label = np.array(Image.open(room / "label/0.png"))
    label[:9, :30] = number
    Image.fromarray(label).save(room / "label/0.png")
    result = score_pixels(ColorEncoder(), [room], NAMES, frozenset())
    assert result["rooms"]["room_0"]["iou"] == {"wall": 1.0, "sofa": 1.0}
