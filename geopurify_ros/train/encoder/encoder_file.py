"""From two finished trainings to the file of the built-in encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geopurify_ros.data.output_files import check_replaceable
from geopurify_ros.encoders.builtin_file import read_text_tower, write_builtin
from geopurify_ros.encoders.image_tower import ImageTower
from geopurify_ros.encoders.int8 import packed, unpacked
from geopurify_ros.encoders.text_tower import TextShape, TextTower, tokenize
from geopurify_ros.encoders.wordpiece import WordPiece
from geopurify_ros.errors import InputError
from geopurify_ros.train.encoder.learner import TextEncoder
from geopurify_ros.train.trainer import trained_settings, trained_weights

_BATCH = 256
# ImageNet's words weigh that much more in what is shipped than in training, for things that no
# room shows; by what that may cost in validation rooms (docs/log/encoder.md).
_LOUDER = 4 / 3


def load_text(folder: Path) -> TextEncoder:
    """The text tower of `geopurify train text`, with the weights that will be shipped.

    Returns:
        Texts -> (L, D) unit vectors.
    """
    tower, splitter = read_text(folder)

    @torch.inference_mode()
    def encode(texts: list[str]) -> Tensor:
        parts = [texts[at : at + _BATCH] for at in range(0, len(texts), _BATCH)]
        return torch.cat([tower(*tokenize(splitter, part)) for part in parts])

    return encode


def read_text(folder: Path) -> tuple[TextTower, WordPiece]:
    """The tower, its weights rounded to 8 bits as on disk, and its splitter.

    Args:
        folder: of `train text`, or the file of an encoder whose text tower is to be kept.

    Raises:
        InputError: the folder holds no such training.
        CheckpointError: the file cannot be read.
    """
    if folder.is_file():
        return read_text_tower(folder)[:2]
    state = _state(folder, "text")
    splitter = WordPiece(tuple((folder / "vocabulary.txt").read_text().splitlines()))
    rank, feature_dim = state["pieces.weight"].shape[1], state["project.weight"].shape[0]
    tower = TextTower(TextShape(len(splitter.vocabulary), rank=rank, feature_dim=feature_dim))
    tower.load_state_dict(unpacked(packed(state)))
    return tower.eval(), splitter


def write_encoder(path: Path, text: Path, image: Path) -> str:
    """Put both towers into one file.

    Args:
        path: of the file.
        text: folder of `train text`, or an encoder's file.
        image: folder of `train encoder`.

    Returns:
        The encoder's id.
    """
    tower, splitter = read_text(text)
    state = _state(image, "encoder")
    part = {k.removeprefix("tower."): v for k, v in state.items() if k.startswith("tower.")}
    pictures = ImageTower(tower.project.out_features)
    pictures.load_state_dict(part)
    pictures.knowledge_weight.mul_(_LOUDER)
    shipped = {"knowledge_weight": float(pictures.knowledge_weight)}
    about: dict[str, Any] = {}
    about["image"] = {"settings": trained_settings(image), "shipped": shipped}
    if text.is_file():
        about["text"] = read_text_tower(text)[2]
    else:
        about["text"] = {"settings": trained_settings(text)}
    scale = float(state["log_scale"].exp())
    check_replaceable(path, "geopurify")
    return write_builtin(path, pictures, tower, splitter, scale, about)


def _state(folder: Path, what: str) -> dict[str, Tensor]:
    try:
        return trained_weights(folder)
    except InputError as error:
        raise InputError(
            f"{error}: run `geopurify train {what} --out {folder}`"
        ) from error
