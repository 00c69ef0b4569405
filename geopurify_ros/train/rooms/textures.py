"""Made-up surfaces: wood, tiles, carpet, wallpaper, pictures, the view out of a window.

All are (TEXTURE_PX, TEXTURE_PX, 4) uint8 RGBA; those of floors and walls repeat without a seam.
"""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.train.rooms.mesh import TEXTURE_PX, Floats

Rng = np.random.Generator
Texture = NDArray[np.uint8]
_N = TEXTURE_PX


def random_color(
    rng: Rng, saturation: tuple[float, float] = (0, 0.7), value: tuple[float, float] = (0.1, 0.95)
) -> Floats:
    """(3,) RGB 0..1, any hue."""
    color = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return np.array(color, dtype=np.float32)


def wood_color(rng: Rng) -> Floats:
    """(3,) from birch to walnut, sometimes painted or grey."""
    if rng.random() < 0.2:
        return random_color(rng, (0, 0.3), (0.2, 0.95))
    color = colorsys.hsv_to_rgb(
        rng.uniform(0.03, 0.12), rng.uniform(0.25, 0.7), rng.uniform(0.2, 0.85)
    )
    return np.array(color, dtype=np.float32)


def wall_color(rng: Rng) -> Floats:
    """(3,) mostly pale."""
    if rng.random() < 0.75:
        return random_color(rng, (0, 0.18), (0.65, 0.95))
    return random_color(rng, (0.1, 0.6), (0.3, 0.9))


def noise(rng: Rng, cells_y: int, cells_x: int) -> Floats:
    """(N, N) smooth random field, about -1..1, that repeats."""
    grid = rng.uniform(-1, 1, (cells_y, cells_x)).astype(np.float32)
    return _stretched(_stretched(grid, 0), 1)


def _stretched(grid: Floats, axis: int) -> Floats:
    count = grid.shape[axis]
    at = np.arange(_N) * count / _N
    low = at.astype(np.int64)
    share = at - low
    share = share * share * (3 - 2 * share)
    share = np.expand_dims(share, 1 - axis).astype(np.float32)
    a = np.take(grid, low, axis=axis)
    b = np.take(grid, (low + 1) % count, axis=axis)
    return np.asarray(a * (1 - share) + b * share, dtype=np.float32)


def fractal(rng: Rng, cells: int, stretch: int = 1) -> Floats:
    """(N, N) noise of several scales, drawn out along x by `stretch`."""
    total = np.zeros((_N, _N), np.float32)
    weight = 1.0
    while cells <= _N // 2:
        total += weight * noise(rng, cells, max(1, cells // stretch))
        cells, weight = cells * 2, weight * 0.55
    return total


def _packed(rgb: Floats) -> Texture:
    image = np.full((_N, _N, 4), 255, np.uint8)
    image[..., :3] = np.clip(rgb, 0, 1) * 255
    return image


def plain(rng: Rng, color: Floats, grain: float = 0.03) -> Texture:
    """Paint, carpet or cloth: one colour with a grain."""
    field = fractal(rng, int(rng.choice([4, 16, 64])))[..., None]
    speckle = rng.normal(0, 1, (_N, _N, 1)).astype(np.float32)
    return _packed(color * (1 + grain * (field + speckle * rng.uniform(0, 1))))


def planks(rng: Rng) -> Texture:
    """A wooden floor, boards along x."""
    rows = int(rng.choice([4, 6, 8, 12]))
    tall = _N // rows
    color = wood_color(rng)
    image = np.zeros((_N, _N, 3), np.float32)
    grain = fractal(rng, 16, 8)[..., None] * rng.uniform(0.04, 0.15)
    for row in range(rows):
        start = int(rng.integers(_N))
        ends = np.sort(rng.integers(0, _N, 2))
        board = np.searchsorted(ends, (np.arange(_N) + start) % _N) % 2
        tones = 1 + rng.normal(0, rng.uniform(0.02, 0.12), 2)
        part = slice(row * tall, (row + 1) * tall)
        image[part] = color * tones[board][None, :, None]
        joint = np.flatnonzero(np.diff(board, prepend=board[-1]))
        image[part][:, joint] *= 0.6
        image[row * tall] *= rng.uniform(0.5, 0.9)
    return _packed(image[:_N] * (1 + grain))


def tiles(rng: Rng) -> Texture:
    """Square or oblong tiles with joints, maybe chequered."""
    down, across = int(rng.choice([2, 4, 8])), int(rng.choice([2, 4, 8]))
    color, other = random_color(rng, (0, 0.4), (0.3, 0.95)), random_color(rng, (0, 0.4))
    y, x = np.mgrid[:_N, :_N]
    row, column = y * down // _N, x * across // _N
    tone = rng.normal(1, 0.04, (down, across))[row, column][..., None]
    chequered = ((row + column) % 2 == 0)[..., None] & bool(rng.random() < 0.3)
    image = np.where(chequered, other, color) * tone
    image = image * (1 + rng.uniform(0, 0.1) * fractal(rng, 4)[..., None])
    joint = (y % (_N // down) < 3) | (x % (_N // across) < 3)
    image[joint] = rng.uniform(0.4, 0.95)
    return _packed(image.astype(np.float32))


def wood(rng: Rng, color: Floats) -> Texture:
    """Furniture wood with grain along x."""
    return _packed(color * (1 + rng.uniform(0.04, 0.2) * fractal(rng, 16, 8)[..., None]))


def pattern(rng: Rng) -> Texture:
    """Wallpaper, curtains, rugs: stripes, checks, dots, rings or waves."""
    colors = np.stack([random_color(rng, (0, 0.8)) for _ in range(4)])
    y, x = np.mgrid[:_N, :_N] / _N
    count = int(rng.choice([2, 4, 8, 16]))
    kind = rng.integers(5)
    if kind == 0:
        field = np.floor(x * count * 2)
    elif kind == 1:
        field = np.floor(x * count) + np.floor(y * count)
    elif kind == 2:
        field = (np.hypot(x * count % 1 - 0.5, y * count % 1 - 0.5) < rng.uniform(0.2, 0.45)) * 1
    elif kind == 3:
        field = np.floor(np.maximum(np.abs(x - 0.5), np.abs(y - 0.5)) * count * 2)
    else:
        field = np.floor((fractal(rng, max(2, count // 2)) + 1) * 3)
    image = colors[field.astype(np.int64) % len(colors)]
    return _packed(image * (1 + 0.05 * rng.normal(0, 1, (_N, _N, 1))))


def painting(rng: Rng) -> Texture:
    """A landscape, an abstract or a pattern, as pictures on walls show."""
    if rng.random() < 0.3:
        return pattern(rng)
    if rng.random() < 0.5:
        return outdoors(rng)
    image = np.ones((_N, _N, 3), np.float32) * random_color(rng)
    y, x = np.mgrid[:_N, :_N]
    for _ in range(int(rng.integers(3, 25))):
        cx, cy, rx, ry = rng.uniform(0, _N, 2).tolist() + rng.uniform(5, 90, 2).tolist()
        if rng.random() < 0.5:
            inside = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
        else:
            inside = (np.abs(x - cx) < rx) & (np.abs(y - cy) < ry)
        image[inside] = random_color(rng, (0, 1))
    return _packed(image * (1 + 0.08 * fractal(rng, 8)[..., None]))


def outdoors(rng: Rng) -> Texture:
    """Sky over hills, trees or house fronts."""
    y = np.linspace(0, 1, _N)[:, None, None]
    sky = np.array([0.55, 0.7, 0.95]) * rng.uniform(0.7, 1) + rng.uniform(0, 0.35)
    image = sky * (1 - 0.3 * y) + 0.12 * fractal(rng, 2, 2)[..., None]
    for layer in range(int(rng.integers(1, 4))):
        top = 0.35 + 0.18 * layer + 0.12 * fractal(rng, 4)[0]
        if rng.random() < 0.4:
            top = np.repeat(top[:: _N // 8], _N // 8)
        land = random_color(rng, (0.1, 0.6), (0.15, 0.6))
        if rng.random() < 0.6:
            land = np.array([0.25, 0.42, 0.18], np.float32) * rng.uniform(0.4, 1.3)
        covered = np.arange(_N)[:, None] / _N > top[None]
        image[covered] = (land * (1 + 0.3 * fractal(rng, 16)[..., None]))[covered]
    return _packed(image.astype(np.float32))


def screen(rng: Rng) -> Texture:
    """What a monitor shows: windows with lines of text, or a picture."""
    if rng.random() < 0.5:
        return painting(rng)
    image = np.ones((_N, _N, 3), np.float32) * random_color(rng, (0, 0.6))
    for _ in range(int(rng.integers(1, 4))):
        x0, y0 = rng.integers(0, _N // 2, 2)
        x1, y1 = x0 + int(rng.integers(60, 200)), y0 + int(rng.integers(60, 200))
        image[y0:y1, x0:x1] = rng.choice([0.95, 0.1])
        for y in range(y0 + 12, min(y1, _N) - 6, 8):
            image[y : y + 3, x0 + 6 : x0 + 6 + int(rng.integers(10, 120))] = rng.uniform(0.2, 0.7)
    return _packed(image)
