"""The file of the built-in encoder: both towers, the vocabulary and how they were made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

from geopurify_ros.encoders.image_tower import ImageTower
from geopurify_ros.encoders.int8 import packed, unpacked
from geopurify_ros.encoders.text_tower import TextShape, TextTower
from geopurify_ros.encoders.wordpiece import WordPiece
from geopurify_ros.errors import CheckpointError

FORMAT = 3  # 1: an image tower without depth, 2: of stride 8
_VOCABULARY = "vocabulary"
_Tower = TypeVar("_Tower", bound=nn.Module)


@dataclass(frozen=True)
class Builtin:
    """What the file holds.

    Attributes:
        id: of the encoder; other weights, another id.
        logit_scale: of cosines, as trained.
        image: ready to use, norms folded.
        text: ready to use.
        splitter: of the text tower.
        about: settings and figures of the training.
    """

    id: str
    logit_scale: float
    image: ImageTower
    text: TextTower
    splitter: WordPiece
    about: dict[str, Any]


def write_builtin(
    path: Path,
    image: ImageTower,
    text: TextTower,
    splitter: WordPiece,
    logit_scale: float,
    about: dict[str, Any],
) -> str:
    """Write the file: image weights in float16, text weights in int8.

    Returns:
        The encoder's id.
    """
    words = "\n".join(splitter.vocabulary).encode()
    tensors = {f"image.{name}": value.half() for name, value in image.state_dict().items()}
    tensors |= {f"text.{name}": value for name, value in packed(text.state_dict()).items()}
    tensors[_VOCABULARY] = torch.frombuffer(bytearray(words), dtype=torch.uint8)
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    digest = hashlib.sha256(save(tensors)).hexdigest()[:8]
    header = {
        "format": FORMAT, "id": f"builtin-4-{digest}", "logit_scale": logit_scale,
        "feature_dim": text.project.out_features, "text_shape": asdict(text.shape), "about": about,
    }  # fmt: skip
    path.write_bytes(save(tensors, {"geopurify": json.dumps(header)}))
    return str(header["id"])


def read_builtin(path: Path) -> Builtin:
    """Read the file.

    Raises:
        CheckpointError: missing, damaged, or of another format.
    """
    with _readable(path):
        header, tensors = _content(path)
        if header["format"] != FORMAT:
            raise CheckpointError(
                f"{path} has format {header['format']}, this version reads {FORMAT}: "
                "install the matching version"
            )
        image = _loaded(lambda: ImageTower(header["feature_dim"]), _part(tensors, "image."))
        _fold_norms(image.decoder)
        return Builtin(
            header["id"], float(header["logit_scale"]), image, *_text(header, tensors),
            header["about"],
        )  # fmt: skip


def read_text_tower(path: Path) -> tuple[TextTower, WordPiece, dict[str, Any]]:
    """The text tower alone, its splitter and how it was made; of a file of any format.

    Raises:
        CheckpointError: missing or damaged.
    """
    with _readable(path):
        header, tensors = _content(path)
        return (*_text(header, tensors), header["about"]["text"])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (
        OSError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        safetensors.SafetensorError,
    ) as e:
        raise CheckpointError(
            f"the built-in encoder cannot be read from {path} ({e}): install the package again"
        ) from e


def _content(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safetensors.safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["geopurify"])
    return header, load_file(path)


def _text(header: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[TextTower, WordPiece]:
    shape = TextShape(**header["text_shape"])
    text = _loaded(lambda: TextTower(shape), unpacked(_part(tensors, "text.")))
    words = bytes(tensors[_VOCABULARY].numpy()).decode().split("\n")
    return text, WordPiece(tuple(words))


class _Blank(TorchFunctionMode):
    """Leaves out the drawing of random weights: that was half of the time to read the file.

    On the device "meta" it would not be done either, but torch then imports for a second.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        drawn = getattr(func, "__module__", "") == nn.init.__name__
        if drawn or func in (Tensor.uniform_, Tensor.normal_):
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def _loaded(make: Callable[[], _Tower], weights: dict[str, Tensor]) -> _Tower:
    """A tower with these weights."""
    with _Blank():
        tower = make()
    tower.load_state_dict(weights, assign=True)
    return tower.eval()


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name[len(prefix) :]: value if value.dtype == torch.int8 else value.float()
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _fold_norms(module: nn.Module) -> None:
    """Let every convolution do the work of the norm behind it."""
    for child in module.modules():
        if not isinstance(child, nn.Sequential):
            continue
        for k in range(1, len(child)):
            conv, norm = child[k - 1], child[k]
            if isinstance(norm, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d):
                child[k - 1] = fuse_conv_bn_eval(conv, norm)
                child[k] = nn.Identity()
