"""Images and labels of generated rooms in memory, and what is done to them before training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from geopurify_ros.data.readers.matrix_file import read_intrinsics
from geopurify_ros.encoders.depth_channels import depth_channels
from geopurify_ros.encoders.depth_tower import STRIDE as DEPTH_STRIDE
from geopurify_ros.errors import InputError

_GREY = (0.299, 0.587, 0.114)
_EXCHANGED = 0.15  # share of the images whose colours change places


@dataclass(frozen=True)
class Views:
    """All images of some rooms.

    Attributes:
        color: (N, H, W, 3) uint8.
        label: (N, H, W) uint8, numbers of train.classes, 0 = none.
        depth_mm: (N, H, W) uint16, 0 = none.
        intrinsics: (N, 3, 3) float64.
    """

    color: NDArray[np.uint8]
    label: NDArray[np.uint8]
    depth_mm: NDArray[np.uint16]
    intrinsics: NDArray[np.float64]


class Sections(NamedTuple):
    """Parts of some views, as training wants them.

    Attributes:
        image: (B, 3, h, w) float 0..1.
        label: (B, h / 4, w / 4) int64, at the centres of 4 px cells.
        channels: (B, 8, h / 4, w / 4) float32, see encoders.depth_channels.
    """

    image: Tensor
    label: Tensor
    channels: Tensor


def load_views(rooms: Path) -> Views:
    """Read every view of every room_* folder.

    Raises:
        InputError: there are none, their sizes differ, or a camera matrix cannot be read.
    """
    colors = sorted(rooms.glob("room_*/color/*.jpg"))
    if not colors:
        raise InputError(
            f"no rooms in {rooms}: make some with `geopurify train rooms --out {rooms}`"
        )
    parts = [
        [_read(path), _read(_beside(path, "label")), _read(_beside(path, "depth"))]
        for path in colors
    ]
    if len({image.shape for part in parts for image in part}) != 2:
        raise InputError(f"the images in {rooms} differ in size, expected one size for all")
    intrinsics = {
        room: read_intrinsics(room / "intrinsic" / "intrinsic_depth.txt")
        for room in {path.parent.parent for path in colors}
    }
    color, label, depth_mm = (np.stack(part) for part in zip(*parts, strict=True))
    lenses = np.stack([intrinsics[path.parent.parent] for path in colors])
    return Views(color, label, depth_mm, lenses)


def _beside(color: Path, what: str) -> Path:
    return color.parent.parent / what / f"{color.stem}.png"


def _read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image)


def cut(
    views: Views, rows: NDArray[np.int64], size_px: tuple[int, int], rng: np.random.Generator
) -> Sections:
    """Random sections in random sizes, some mirrored; of each the depth as a camera has it.

    Args:
        views: to choose from.
        rows: (B,) which.
        size_px: height and width of the result.
        rng: decides.
    """
    parts = [_section(views, int(row), size_px, rng) for row in rows]
    return Sections(*(torch.stack(part) for part in zip(*parts, strict=True)))


def _section(
    views: Views, row: int, size_px: tuple[int, int], rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    height, width = views.label.shape[1:]
    fit = max(size_px[0] / height, size_px[1] / width)
    zoom = fit * float(rng.choice([1.0, rng.uniform(1.0, 1.6)]))
    part = [min(n, round(want / zoom)) for n, want in zip((height, width), size_px, strict=True)]
    top, left = (int(rng.integers(n - p + 1)) for n, p in zip((height, width), part, strict=True))
    window = np.s_[top : top + part[0], left : left + part[1]]
    pixels = torch.from_numpy(views.color[row][window]).permute(2, 0, 1).float()[None] / 255
    image = interpolate(pixels, size=size_px, mode="bilinear", align_corners=False)[0]
    y, x = ((np.arange(n // 4) + 0.5) * 4 / n for n in size_px)
    cells = views.label[row][window][(y * part[0]).astype(int)][:, (x * part[1]).astype(int)]
    numbers = torch.from_numpy(cells.astype(np.int64))
    lens = views.intrinsics[row] - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
    channels = depth_channels(
        torch.from_numpy(measured_again(views.depth_mm[row][window], rng)), torch.from_numpy(lens),
        (size_px[0] // DEPTH_STRIDE, size_px[1] // DEPTH_STRIDE),
    )  # fmt: skip
    if rng.random() < 0.5:  # no channel knows left from right
        return image.flip(-1), numbers.flip(-1), channels.flip(-1)
    return image, numbers, channels


def measured_again(
    depth_mm: NDArray[np.uint16], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Metres of a worse camera: noise growing with depth, waves, a wrong scale, steps, holes.

    Structured-light cameras lose dark, shiny and slanted patches whole, and are off by centimetres
    at 3 m (Khoshelham and Elberink 2012).
    """
    depth_m = depth_mm.astype(np.float32) / 1000 * np.float32(rng.uniform(0.97, 1.03))
    worse = rng.uniform(0, 1)
    noise = rng.standard_normal(depth_m.shape, dtype=np.float32) * np.float32(0.003 * worse)
    waves = _waves(depth_m.shape, rng) * np.float32(0.004 * rng.uniform(0, 1))
    seen = depth_m > 0
    depth_m = depth_m + (noise + waves) * depth_m**2
    step_m = np.float32(rng.uniform(0, 0.003)) * depth_m**2 + np.float32(1e-4)
    depth_m = np.round(depth_m / step_m) * step_m
    holes = _waves(depth_m.shape, rng) > rng.uniform(1.0, 4.0)
    return np.where(seen & ~holes & (depth_m > 0), depth_m, np.float32(np.nan))


def _waves(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise of deviation one, bumps of a tenth to a fifth of the image."""
    small = torch.from_numpy(rng.standard_normal((1, 1, 8, 10), dtype=np.float32))
    smooth = interpolate(small, size=shape, mode="bicubic", align_corners=False)[0, 0]
    return smooth.numpy()


def recolored(images: Tensor, rng: np.random.Generator) -> Tensor:
    """(B, 3, h, w) as other and worse cameras might have taken them, still in 0..1."""
    count = len(images)

    def each(low: float, high: float, *shape: int) -> Tensor:
        values = rng.uniform(low, high, (count, *shape, 1, 1)).astype(np.float32)
        return torch.from_numpy(values)

    grey = (images * torch.tensor(_GREY)[:, None, None]).sum(dim=1, keepdim=True)
    saturation = each(0.2, 1.6, 1)
    saturation[torch.from_numpy(rng.random(count) < 0.1)] = 0
    images = _exchanged(grey + saturation * (images - grey), rng)
    images = images * each(0.75, 1.25, 3) * each(0.6, 1.4, 1)
    images = (images - 0.5) * each(0.65, 1.35, 1) + 0.5
    images = images.clamp(1e-3, 1) ** each(0.65, 1.5, 1)
    for kernel, most in ((3, 1.0), (5, 0.7)):
        blurred = avg_pool2d(images, kernel, 1, kernel // 2, count_include_pad=False)
        images = torch.lerp(images, blurred, each(0.0, most, 1) * each(0.0, 1.0, 1))
    return (images + _grain(images.shape, rng) * each(0.0, 1.0, 1)).clamp(0, 1)


def _exchanged(images: Tensor, rng: np.random.Generator) -> Tensor:
    """In some images red, green and blue change places: a thing may have any colour."""
    order = np.tile(np.arange(3), (len(images), 1))
    moved = rng.random(len(images)) < _EXCHANGED
    order[moved] = rng.permuted(order[moved], axis=1)
    return images[torch.arange(len(images))[:, None], torch.from_numpy(order)]


def _grain(shape: torch.Size, rng: np.random.Generator) -> Tensor:
    """Noise of a pixel, and of two by two as small images have it when they are enlarged."""
    fine = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
    half = (*shape[:2], shape[2] // 2, shape[3] // 2)
    coarse = torch.from_numpy(rng.standard_normal(half, dtype=np.float32))
    coarse = interpolate(coarse, size=tuple(shape[2:]), mode="bilinear", align_corners=False)
    strength = torch.from_numpy(rng.uniform(0, 0.06, (2, shape[0], 1, 1, 1)).astype(np.float32))
    return fine * strength[0] + coarse * strength[1]
