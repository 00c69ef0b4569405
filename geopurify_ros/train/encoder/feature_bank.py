"""What the frozen half of the trunk makes of every view, computed once and kept on disk.

Training then costs only the deeper half and the decoder: five times as many images an hour.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from geopurify_ros.encoders.depth_channels import NUM_CHANNELS
from geopurify_ros.encoders.depth_tower import STRIDE as DEPTH_STRIDE
from geopurify_ros.encoders.image_tower import MEAN, STAGES, STD, Trunk
from geopurify_ros.train.encoder.room_images import Views, cut, recolored

SIZE_PX = (256, 352)
_BATCH = 8


@dataclass(frozen=True)
class Bank:
    """Arrays on disk, N sections of views.

    Attributes:
        edges: (N, 24, h / 4, w / 4) float16, `Trunk.early`'s first.
        near: (N, 48, h / 8, w / 8) float16, its second.
        middle: (N, 120, h / 16, w / 16) float16, its third.
        deep: (N, 352, h / 32, w / 32) float16, the last map of the pretrained trunk.
        label: (N, h / 4, w / 4) uint8.
        channels: (N, 8, h / 4, w / 4) float16, see encoders.depth_channels.
    """

    edges: NDArray[np.float16]
    near: NDArray[np.float16]
    middle: NDArray[np.float16]
    deep: NDArray[np.float16]
    label: NDArray[np.uint8]
    channels: NDArray[np.float16]

    def pick(self, rows: NDArray[np.int64]) -> Batch:
        """The parts of some rows, float32 and int64."""
        edges, near, middle, deep, channels = (
            torch.from_numpy(part[rows]).float()
            for part in (self.edges, self.near, self.middle, self.deep, self.channels)
        )
        label = torch.from_numpy(self.label[rows].astype(np.int64))
        return Batch(edges, near, middle, deep, label, channels)


class Batch(NamedTuple):
    """Rows of a bank, see there."""

    edges: Tensor
    near: Tensor
    middle: Tensor
    deep: Tensor
    label: Tensor
    channels: Tensor


@dataclass(frozen=True)
class Mixture:
    """Several banks to draw from.

    Attributes:
        banks: one per folder of rooms.
        shares: (len(banks),) of the images, their sum is 1.
        size: images of a batch.
        without_depth: share of the images whose depth is taken away.
    """

    banks: list[Bank]
    shares: NDArray[np.float64]
    size: int
    without_depth: float

    def draw(self, rng: np.random.Generator, layout: torch.memory_format) -> Batch:
        """One batch, its maps laid out as asked."""
        counts = rng.multinomial(self.size, self.shares)
        parts = [
            bank.pick(rng.integers(len(bank.label), size=count))
            for bank, count in zip(self.banks, counts, strict=True)
        ]
        made = Batch(*(torch.cat(part) for part in zip(*parts, strict=True)))
        kept = torch.from_numpy(rng.random(len(made.label)) >= self.without_depth)
        made = made._replace(channels=made.channels * kept[:, None, None, None])
        return Batch(*(m if m.dim() < 4 else m.to(memory_format=layout) for m in made))


def make_bank(
    folder: Path, load: Callable[[], Views], trunk: Trunk, variants: int, seed: int, source: str
) -> Bank:
    """Encode `variants` random sections of every view; what the folder holds is used again.

    Args:
        folder: for the arrays.
        load: gives the views; not called where the folder is complete.
        trunk: pretrained, not changed.
        variants: sections per view, each recoloured in its own way.
        seed: of the sections.
        source: names the views; a folder made from others is made anew.
    """
    made = {"source": source, "variants": variants, "seed": seed, "shapes": _shapes()}
    note = json.dumps(made)
    done = folder / "bank.json"
    if done.exists() and done.read_text(errors="replace") == note:
        with contextlib.suppress(Exception):  # whatever damaged files make numpy raise
            return _read(folder)
    done.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    _fill(folder, load(), trunk, variants, seed)
    done.write_text(note)
    return _read(folder)


def _read(folder: Path) -> Bank:
    return Bank(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in _NAMES))


_NAMES = ("edges", "near", "middle", "deep", "label", "channels")


def _fill(folder: Path, views: Views, trunk: Trunk, variants: int, seed: int) -> None:
    count = len(views.color) * variants
    arrays = _empty(folder, count)
    for at in tqdm(range(0, count, _BATCH), unit="batch", desc=folder.name):
        rows = np.arange(at, min(at + _BATCH, count))
        rng = np.random.default_rng([seed, at])
        part = cut(views, rows // variants, SIZE_PX, rng)
        with torch.inference_mode():
            edges, near, middle = trunk.early((recolored(part.image, rng) - MEAN) / STD)
            deep = trunk.late(middle)
        made = Batch(edges, near, middle, deep, part.label, part.channels)
        for name, values in made._asdict().items():
            arrays[name][rows] = values.numpy()
    for array in arrays.values():
        array.flush()


def _shapes() -> dict[str, tuple[int, ...]]:
    """Of one section in each array."""
    height, width = SIZE_PX
    return {
        "edges": (STAGES[1].width, height // 4, width // 4),
        "near": (STAGES[2].width, height // 8, width // 8),
        "middle": (STAGES[4].width, height // 16, width // 16),
        "deep": (STAGES[6].width, height // 32, width // 32),
        "label": (height // 4, width // 4),
        "channels": (NUM_CHANNELS, height // DEPTH_STRIDE, width // DEPTH_STRIDE),
    }


def _empty(folder: Path, count: int) -> dict[str, Any]:
    return {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", np.uint8 if name == "label" else np.float16,
            (count, *shape),
        )
        for name, shape in _shapes().items()
    }  # fmt: skip
