"""Vessels: solids of revolution, open above or closed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from geopurify_ros.train.rooms.built.parts import (
    cloth,
    dark,
    finish,
    metal,
    rod,
    together,
    turned,
)
from geopurify_ros.train.rooms.mesh import Material, Mesh
from geopurify_ros.train.rooms.shapes import matt, painted
from geopurify_ros.train.rooms.textures import Rng, pattern, random_color

Outline = list[tuple[float, float]]


def glaze(rng: Rng) -> Material:
    """China, clay, plastic or glass."""
    if rng.random() < 0.15:
        return matt(pattern(rng), 0.3)
    return painted(random_color(rng, (0, 0.7), (0.25, 0.97)), float(rng.uniform(0, 0.6)))


def wavy(rng: Rng, radius: float, height: float, least: float) -> Outline:
    """A random smooth outline of a vessel, (radius, z)."""
    at = np.linspace(0, 1, 13)
    where = np.linspace(0, 1, 5)
    wide = rng.uniform(least, 1.0, len(where))
    smooth = np.interp(at, where, wide)
    smooth = np.convolve(np.pad(smooth, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    return [
        (0.0, 0.0),
        *((float(radius * r), float(height * z)) for r, z in zip(smooth, at, strict=True)),
    ]


def hollow(outline: Outline, material: Material, inside: Material, sides: int = 18) -> Mesh:
    """A vessel whose inside is seen from above: it follows the outside, a little narrower."""
    radius, top = zip(*outline, strict=True)
    low = max(0.3 * top[-1], 0.004)
    wall = [(0.92 * r, z) for r, z in reversed(outline[:-1]) if z > low]
    floor = [(0.92 * float(np.interp(low, top, radius)), low), (0.0, low)]
    inner = [outline[-1], (0.92 * radius[-1], top[-1]), *wall, *floor]
    return together([turned(outline, material, sides), turned(inner, inside, sides)])


def vase(rng: Rng) -> Mesh:
    """Bellied or slender."""
    height = float(rng.uniform(0.12, 0.6))
    skin = glaze(rng)
    return hollow(wavy(rng, height * float(rng.uniform(0.2, 0.45)), height, 0.35), skin, skin)


def jar(rng: Rng) -> Mesh:
    """Straight, with a lid."""
    r, height = float(rng.uniform(0.03, 0.08)), float(rng.uniform(0.08, 0.24))
    lid = [(r * 0.9, height), (r * 0.9, height * 1.15), (0.0, height * 1.15)]
    body = [(0.0, 0.0), (r, 0.0), (r, height * 0.85), (r * 0.85, height)]
    return together(
        [turned(body, glaze(rng)), turned(lid, metal(rng) if rng.random() < 0.6 else finish(rng))]
    )


def bottle(rng: Rng) -> Mesh:
    """A neck above shoulders."""
    r, height = float(rng.uniform(0.025, 0.05)), float(rng.uniform(0.16, 0.36))
    neck, shoulder = r * float(rng.uniform(0.25, 0.5)), float(rng.uniform(0.45, 0.75))
    skin, label = glaze(rng), painted(random_color(rng, (0, 0.8), (0.4, 0.98)))
    made = [
        turned(
            [
                (0, 0),
                (r, 0),
                (r, height * shoulder),
                (neck, height * (shoulder + 0.15)),
                (neck, height * 0.95),
            ],
            skin,
        ),
        turned([(neck * 1.15, height * 0.92), (neck * 1.15, height), (0, height)], dark(rng)),
    ]
    if rng.random() < 0.7:
        made.append(
            turned([(r * 1.01, height * 0.15), (r * 1.01, height * shoulder * 0.85)], label)
        )
    return together(made)


def cup(rng: Rng) -> Mesh:
    """A mug with a handle."""
    r, height, skin = float(rng.uniform(0.032, 0.05)), float(rng.uniform(0.06, 0.12)), glaze(rng)
    below = r * float(rng.uniform(0.6, 1.0))
    bow = [
        (r * 0.95, height * 0.8),
        (r * 1.6, height * 0.7),
        (r * 1.6, height * 0.3),
        (r * 0.9, height * 0.2),
    ]
    handle = [
        rod((a, 0, b), (c, 0, d), 0.006, skin)
        for (a, b), (c, d) in pairwise(bow)
    ]
    inside = skin if rng.random() < 0.6 else painted(random_color(rng, (0, 0.1), (0.7, 0.98)))
    return together([hollow([(0, 0), (below, 0), (r, height)], skin, inside), *handle])


def glass(rng: Rng) -> Mesh:
    """A tumbler, or a goblet on a stem; clear."""
    clear = Material((0.85, 0.9, 0.92), alpha=float(rng.uniform(0.3, 0.7)), gloss=0.9)
    r, height = float(rng.uniform(0.028, 0.045)), float(rng.uniform(0.08, 0.22))
    if rng.random() < 0.5:
        return turned([(0, 0), (r * 0.8, 0), (r, height)], clear)
    return turned(
        [(r, 0), (0.004, 0.006), (0.004, height * 0.5), (r, height * 0.7), (r * 0.85, height)],
        clear,
    )


def plate(rng: Rng) -> Mesh:
    """Flat, round."""
    r, skin = float(rng.uniform(0.08, 0.16)), glaze(rng)
    return turned(
        [(r * 0.6, 0), (r, 0.02), (r * 0.95, 0.022), (r * 0.6, 0.008), (0, 0.008)], skin, 24
    )


def bowl(rng: Rng) -> Mesh:
    """Open, half a sphere or flatter."""
    r, flat = float(rng.uniform(0.07, 0.17)), float(rng.uniform(0.4, 0.9))
    angle = np.linspace(0.25, 1.5, 7)
    outline = [
        (0.0, 0.0),
        *((float(r * np.sin(a)), float(r * flat * (1 - np.cos(a)))) for a in angle),
    ]
    return hollow(outline, glaze(rng), glaze(rng), 24)


def pan(rng: Rng) -> Mesh:
    """A pot with two ears, or a flat pan with a long handle."""
    r, skin, grip = float(rng.uniform(0.09, 0.16)), metal(rng), dark(rng)
    if rng.random() < 0.5:
        height = float(rng.uniform(0.08, 0.2))
        made = [hollow([(0, 0), (r, 0), (r, height)], skin, skin, 24)]
        for s in (-1, 1):
            made.append(
                rod((s * r, -0.03, height * 0.8), (s * (r + 0.04), 0, height * 0.8), 0.008, grip)
            )
            made.append(
                rod((s * r, 0.03, height * 0.8), (s * (r + 0.04), 0, height * 0.8), 0.008, grip)
            )
        if rng.random() < 0.6:
            lid = [
                (r, height),
                (r * 0.5, height + 0.03),
                (0.015, height + 0.03),
                (0.015, height + 0.06),
                (0, height + 0.06),
            ]
            made.append(turned(lid, skin, 24))
        return together(made)
    return together(
        [
            hollow([(0, 0), (r * 0.8, 0), (r, 0.05)], skin, dark(rng), 24),
            rod((r, 0, 0.045), (r + 0.18, 0, 0.07), 0.012, grip),
        ]
    )


def trash_can(rng: Rng) -> Mesh:
    """Round or square, open or with a lid."""
    r, height = float(rng.uniform(0.11, 0.22)), float(rng.uniform(0.25, 0.75))
    skin = metal(rng) if rng.random() < 0.4 else glaze(rng)
    sides = 4 if rng.random() < 0.3 else 20
    below = r * float(rng.uniform(0.65, 1.0))
    can = hollow([(0, 0), (below, 0), (r, height)], skin, dark(rng), sides)
    if rng.random() < 0.5:
        return can
    lid = [
        (r * 1.03, height),
        (r * 1.03, height + 0.03),
        (r * 0.6, height + 0.1),
        (0, height + 0.11),
    ]
    return together([can, turned(lid, skin if rng.random() < 0.5 else dark(rng), sides)])


def laundry_basket(rng: Rng) -> Mesh:
    """A woven or slatted basket with cloth in it."""
    r, height = float(rng.uniform(0.18, 0.3)), float(rng.uniform(0.3, 0.65))
    weave = (
        matt(pattern(rng))
        if rng.random() < 0.6
        else painted(random_color(rng, (0, 0.4), (0.5, 0.95)))
    )
    made = [
        hollow([(0, 0), (r * float(rng.uniform(0.7, 1)), 0), (r, height)], weave, cloth(rng), 20),
        turned(
            [(r, height - 0.03), (r * 1.06, height - 0.02), (r * 1.06, height), (r, height)], weave
        ),
    ]
    basket = together(made)
    return basket.moved(np.diag([1.0, float(rng.uniform(0.6, 1.0)), 1.0]), np.zeros(3))


def pen_holder(rng: Rng) -> Mesh:
    """A beaker full of pens."""
    r, height = float(rng.uniform(0.03, 0.045)), float(rng.uniform(0.08, 0.12))
    made = [hollow([(0, 0), (r, 0), (r, height)], glaze(rng), dark(rng), 12)]
    for _ in range(int(rng.integers(3, 9))):
        x, y = rng.uniform(-0.6, 0.6, 2) * r
        made.append(
            rod(
                (x * 0.5, y * 0.5, 0.02),
                (x * 1.5, y * 1.5, height * rng.uniform(1.2, 1.7)),
                0.004,
                painted(random_color(rng, (0, 1))),
            )
        )
    return together(made)
