"""Shelves, chests and boxes."""

from __future__ import annotations

import numpy as np

from geopurify_ros.train.rooms.built.parts import (
    box,
    dark,
    drawn_out,
    enamel,
    finish,
    metal,
    random_size,
    rod,
    together,
)
from geopurify_ros.train.rooms.mesh import Material, Mesh
from geopurify_ros.train.rooms.shapes import matt, painted
from geopurify_ros.train.rooms.textures import Rng, plain, random_color


def shelf(rng: Rng) -> Mesh:
    """Boards between posts, without a back."""
    width, depth, height = random_size(rng, (0.5, 0.24, 0.8), (1.6, 0.5, 2.1))
    board, post = finish(rng), metal(rng) if rng.random() < 0.5 else finish(rng)
    count = int(rng.integers(3, 7))
    made = []
    for sx in (-1, 1):
        for sy in (-1, 1):
            x, y = sx * (width / 2 - 0.015), sy * (depth / 2 - 0.015)
            made.append(rod((x, y, 0), (x, y, height), 0.02, post, 4))
    for z in np.linspace(0.08, height - 0.03, count):
        made.append(box(board, width, depth, 0.02, 0, 0, float(z)))
    return together(made)


def chest(rng: Rng) -> Mesh:
    """A lid, flat or vaulted, and often bands of metal."""
    width, depth, height = random_size(rng, (0.6, 0.38, 0.35), (1.3, 0.6, 0.65))
    body, band = finish(rng), metal(rng)
    low = height * float(rng.uniform(0.6, 0.8))
    made = [box(body, width, depth, low - 0.006)]
    if rng.random() < 0.5:
        angle = np.linspace(0, np.pi, 9)
        vault = [
            (float(np.cos(a)) * depth / 2, low + float(np.sin(a)) * (height - low)) for a in angle
        ]
        made.append(drawn_out(vault, width, body))
    else:
        made.append(box(body, width + 0.02, depth + 0.02, height - low, 0, 0, low))
    if rng.random() < 0.5:
        made += [box(band, 0.05, depth + 0.01, low, x * width * 0.35) for x in (-1, 1)]
    made.append(box(band, 0.06, 0.02, 0.09, 0, -depth / 2, low - 0.06))
    return together(made)


def carton(rng: Rng) -> Mesh:
    """A box of cardboard, closed or with open flaps."""
    width, depth, height = random_size(rng, (0.15, 0.12, 0.08), (0.6, 0.5, 0.5))
    brown = random_color(rng, (0.3, 0.5), (0.4, 0.75)) * np.array([1.0, 0.8, 0.55])
    skin = matt(plain(rng, brown.astype(np.float32) if rng.random() < 0.7 else random_color(rng)))
    if rng.random() < 0.5:
        return together(
            [
                box(skin, width, depth, height),
                box(painted(random_color(rng)), 0.05, depth + 0.002, height + 0.001),
            ]
        )
    made = [box(skin, width, depth, 0.01)]
    for s in (-1, 1):
        made.append(box(skin, 0.008, depth, height, s * width / 2))
        made.append(box(skin, width, 0.008, height, 0, s * depth / 2))
        out = float(rng.uniform(0.3, 0.9)) * depth / 2
        made.append(
            drawn_out(
                [
                    (s * depth / 2, height),
                    (s * (depth / 2 + out), height + out / 2),
                    (s * depth / 2, height + 0.006),
                ][::s],
                width,
                skin,
            )
        )
    return together(made)


def bread_box(rng: Rng) -> Mesh:
    """A rounded shutter over a flat bottom."""
    width, depth, height = random_size(rng, (0.28, 0.2, 0.15), (0.45, 0.32, 0.28))
    body, front = finish(rng), metal(rng) if rng.random() < 0.5 else finish(rng)
    angle = np.linspace(0, np.pi / 2, 7)
    bow = [
        (-depth / 2 + depth * 0.7 * (1 - float(np.cos(a))), height * float(np.sin(a)))
        for a in angle
    ]
    outline = [(depth / 2, 0.0), (depth / 2, height), *bow[::-1]]
    return together(
        [
            drawn_out(outline, width, front, ends=body),
            rod(
                (-0.03, -depth / 2 - 0.01, height * 0.3),
                (0.03, -depth / 2 - 0.01, height * 0.3),
                0.01,
                metal(rng),
            ),
        ]
    )


def safe(rng: Rng) -> Mesh:
    """A thick door with a dial and a lever."""
    width, depth, height = random_size(rng, (0.3, 0.3, 0.3), (0.7, 0.6, 1.0))
    skin, steel = enamel(rng), metal(rng)
    y, z = -depth / 2, 0.55 * height
    return together([
        box(skin, width, depth, height),
        box(skin, width - 0.06, 0.02, height - 0.06, 0, y - 0.01, 0.03),
        rod((0.1 * width, y, z), (0.1 * width, y - 0.04, z), 0.04, steel, 12),
        rod((-0.2 * width, y - 0.03, z), (0.1 - 0.2 * width, y - 0.03, z), 0.01, steel),
    ])  # fmt: skip


def aquarium(rng: Rng) -> Mesh:
    """Water between edges, on a cupboard or without."""
    width, depth, height = rng.uniform((0.5, 0.28, 0.3), (1.2, 0.5, 0.55)).tolist()
    low = float(rng.uniform(0.5, 0.75)) if rng.random() < 0.6 else 0.0
    water = Material((0.25, 0.55, 0.65), alpha=0.75, gloss=0.9)
    made = [box(finish(rng), width, depth, low)] if low else []
    frame = dark(rng)
    made += [box(frame, width + 0.02, depth + 0.02, 0.03, 0, 0, z) for z in (low, low + height)]
    made += [
        box(water, width, depth, height, 0, 0, low),
        box(
            painted(random_color(rng, (0.2, 0.5), (0.4, 0.8))),
            width * 0.96,
            depth * 0.94,
            0.06,
            0,
            0,
            low + 0.03,
        ),
    ]
    for x in rng.uniform(-0.4, 0.4, 6) * width:
        made.append(
            rod(
                (x, 0, low + 0.05),
                (x + 0.03, 0.02, low + height * 0.7),
                0.02,
                painted(np.array([0.1, 0.4, 0.15])),
                4,
                0.004,
            )
        )
    return together(made)
