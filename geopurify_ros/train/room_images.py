"""Images and labels of generated rooms in memory, and what is done to them before training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from geopurify_ros.errors import InputError

_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Views:
    """All images of some rooms.

    Attributes:
        color: (N, H, W, 3) uint8.
        label: (N, H, W) uint8, numbers of train.classes, 0 = none.
    """

    color: NDArray[np.uint8]
    label: NDArray[np.uint8]


def load_views(rooms: Path) -> Views:
    """Read every view of every room_* folder.

    Raises:
        InputError: there are none, or their sizes differ.
    """
    colors = sorted(rooms.glob("room_*/color/*.jpg"))
    if not colors:
        raise InputError(
            f"no rooms in {rooms}: make some with `geopurify train rooms --out {rooms}`"
        )
    pairs = [(_read(path), _read(_label_of(path))) for path in colors]
    if len({image.shape for pair in pairs for image in pair}) != 2:
        raise InputError(f"the images in {rooms} differ in size, expected one size for all")
    return Views(np.stack([c for c, _ in pairs]), np.stack([label for _, label in pairs]))


def _label_of(color: Path) -> Path:
    return color.parent.parent / "label" / f"{color.stem}.png"


def _read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image)


def cut(
    views: Views, rows: NDArray[np.int64], size_px: tuple[int, int], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Random sections in random sizes, some mirrored.

    Args:
        views: to choose from.
        rows: (B,) which.
        size_px: height and width of the result.
        rng: decides.

    Returns:
        (B, 3, h, w) float 0..1 and (B, h / 8, w / 8) int64 labels at the centres of 8 px cells.
    """
    pairs = [_section(views.color[row], views.label[row], size_px, rng) for row in rows]
    return torch.stack([image for image, _ in pairs]), torch.stack([label for _, label in pairs])


def _section(
    color: NDArray[np.uint8],
    label: NDArray[np.uint8],
    size_px: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    height, width = label.shape
    fit = max(size_px[0] / height, size_px[1] / width)
    zoom = fit * float(rng.choice([1.0, rng.uniform(1.0, 1.6)]))
    part = [min(n, round(want / zoom)) for n, want in zip((height, width), size_px, strict=True)]
    top, left = (int(rng.integers(n - p + 1)) for n, p in zip((height, width), part, strict=True))
    window = np.s_[top : top + part[0], left : left + part[1]]
    pixels = torch.from_numpy(color[window]).permute(2, 0, 1).float()[None] / 255
    image = interpolate(pixels, size=size_px, mode="bilinear", align_corners=False)[0]
    y, x = ((np.arange(n // 8) + 0.5) * 8 / n for n in size_px)
    cells = label[window][(y * part[0]).astype(int)][:, (x * part[1]).astype(int)]
    numbers = torch.from_numpy(cells.astype(np.int64))
    if rng.random() < 0.5:
        return image.flip(-1), numbers.flip(-1)
    return image, numbers


def recolored(images: Tensor, rng: np.random.Generator) -> Tensor:
    """(B, 3, h, w) as other cameras might have taken them, still in 0..1."""
    count = len(images)

    def each(low: float, high: float, *shape: int) -> Tensor:
        values = rng.uniform(low, high, (count, *shape, 1, 1)).astype(np.float32)
        return torch.from_numpy(values)

    grey = (images * torch.tensor(_GREY)[:, None, None]).sum(dim=1, keepdim=True)
    saturation = each(0.3, 1.4, 1)
    saturation[torch.from_numpy(rng.random(count) < 0.05)] = 0
    images = grey + saturation * (images - grey)
    images = images * each(0.85, 1.15, 3) * each(0.7, 1.3, 1)
    images = (images - 0.5) * each(0.75, 1.25, 1) + 0.5
    images = images.clamp(1e-3, 1) ** each(0.75, 1.35, 1)
    blurred = avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    images = torch.lerp(images, blurred, each(0.0, 1.0, 1) * each(0.0, 1.0, 1))
    noise = torch.from_numpy(rng.standard_normal(images.shape, dtype=np.float32))
    return (images + noise * each(0.0, 0.04, 1)).clamp(0, 1)
