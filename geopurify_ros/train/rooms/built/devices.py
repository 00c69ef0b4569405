"""Machines of the other rooms, from blocks, discs and rods."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from geopurify_ros.train.rooms.built.parts import (
    box,
    cloth,
    dark,
    disc,
    drawn_out,
    enamel,
    finish,
    metal,
    rod,
    together,
    turned,
)
from geopurify_ros.train.rooms.mesh import Mesh
from geopurify_ros.train.rooms.shapes import matt, painted, quad
from geopurify_ros.train.rooms.textures import Rng, random_color, screen


def air_conditioner(rng: Rng) -> Mesh:
    """A long rounded box with slots."""
    width, depth, height = rng.uniform((0.65, 0.18, 0.24), (1.1, 0.26, 0.34)).tolist()
    skin, y = painted(random_color(rng, (0, 0.05), (0.85, 0.98)), 0.2), -depth / 2
    outline = [
        (depth / 2, 0.0),
        (depth / 2, height),
        (y + 0.05, height),
        (y, height - 0.06),
        (y, 0.06),
        (y + 0.06, 0.0),
    ]
    made = [
        drawn_out(outline, width, skin),
        box(dark(rng), width * 0.85, 0.06, 0.012, 0, y + 0.03, 0.03),
    ]
    for k in range(int(rng.integers(0, 5))):
        made.append(
            box(dark(rng), width * 0.9, 0.004, 0.004, 0, y - 0.002, height * 0.5 + 0.012 * k)
        )
    return together(made)


def radiator(rng: Rng) -> Mesh:
    """Ribs between two pipes, or a flat panel."""
    width, height, skin = float(rng.uniform(0.4, 1.5)), float(rng.uniform(0.35, 0.9)), enamel(rng)
    if rng.random() < 0.4:
        made = [box(skin, width, 0.09, height)]
        for x in np.arange(-width / 2 + 0.03, width / 2, 0.05):
            made.append(box(skin, 0.025, 0.012, height - 0.06, float(x), -0.05, 0.03))
        return together(made)
    step, deep = float(rng.uniform(0.045, 0.08)), float(rng.uniform(0.07, 0.16))
    made = [rod((-width / 2, 0, z), (width / 2, 0, z), 0.02, skin) for z in (0.04, height - 0.04)]
    for x in np.arange(-width / 2 + step / 2, width / 2, step):
        made.append(box(skin, step * 0.6, deep, height, float(x)))
    return together(made)


def fan(rng: Rng) -> Mesh:
    """A ring with blades on a foot, for a table or the floor."""
    r, pole = float(rng.uniform(0.12, 0.24)), float(rng.uniform(0.05, 0.9))
    skin, z = enamel(rng), pole + r + 0.03
    made = [
        turned([(r * 0.8, 0), (r * 0.75, 0.025), (0, 0.03)], skin),
        rod((0, 0, 0.02), (0, 0, z), 0.014, skin),
        disc(0, -0.06, z, r * 0.2, 0.05, skin),
        disc(0, 0.06, z, r * 0.3, 0.1, skin),
    ]
    blade = painted(random_color(rng, (0, 0.5), (0.2, 0.95)), 0.2)
    for angle in np.arange(3) * 2 * np.pi / 3 + rng.uniform(0, 2):
        c, s = float(np.cos(angle)), float(np.sin(angle))
        made.append(
            box(blade, r * 0.5, 0.008, r * 0.75).moved(
                np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), np.array([0, -0.04, z])
            )
        )
    angles = np.linspace(0, 2 * np.pi, 25)
    rim = np.column_stack([r * np.cos(angles), np.full(25, -0.05), z + r * np.sin(angles)])
    made += [rod(a, b, 0.006, skin, 4) for a, b in pairwise(rim)]
    for a in rim[:-1:2]:
        made.append(rod((0, -0.1, z), a, 0.002, skin, 3))
    return together(made)


def speaker(rng: Rng) -> Mesh:
    """A box with up to three round membranes."""
    width, height = float(rng.uniform(0.12, 0.35)), float(rng.uniform(0.2, 1.1))
    depth, skin, cone = width * float(rng.uniform(0.8, 1.3)), finish(rng), dark(rng)
    made, z = [box(skin if rng.random() < 0.5 else cone, width, depth, height)], 0.04
    for share in sorted(rng.uniform(0.5, 0.95, int(rng.integers(1, 4))), reverse=True):
        r = float(share) * width / 2
        if z + 2 * r < height:
            made += [
                disc(0, -depth / 2, z + r, r, 0.006, metal(rng)),
                disc(0, -depth / 2 - 0.006, z + r, r * 0.85, 0.004, cone),
            ]
        z += 2 * r + 0.02
    return together(made)


def laptop(rng: Rng) -> Mesh:
    """Two slabs at an angle, a picture on one and keys on the other."""
    width = float(rng.uniform(0.28, 0.4))
    depth, lean, skin = width * 0.68, float(rng.uniform(0.05, 0.6)), metal(rng)
    up = np.array([0, depth * np.sin(lean), depth * np.cos(lean)])
    corner = np.array([-width / 2 + 0.008, depth / 2 - 0.002, 0.012])
    face = matt(screen(rng), 0.3, 1.2) if rng.random() < 0.6 else dark(rng)
    shown = quad(corner, np.array([width - 0.016, 0, 0]), up * 0.96, face, np.ones(2))
    lid = drawn_out(
        [
            (depth / 2, 0.01),
            (depth / 2 + 0.008, 0.01),
            (depth / 2 + 0.008 + up[1], up[2]),
            (depth / 2 + up[1], up[2]),
        ],
        width,
        skin,
    )
    keys = box(dark(rng), width - 0.04, depth * 0.5, 0.002, 0, depth * 0.12, 0.018)
    return together([box(skin, width, depth, 0.018), keys, lid, shown])


def printer(rng: Rng) -> Mesh:
    """A box with a slot, a tray and paper."""
    width, depth, height = rng.uniform((0.35, 0.28, 0.14), (0.55, 0.45, 0.4)).tolist()
    skin, paper, y = enamel(rng), painted(random_color(rng, (0, 0.03), (0.9, 0.98))), -depth / 2
    return together(
        [
            box(skin, width, depth, height),
            box(dark(rng), width * 0.75, 0.006, height * 0.3, 0, y - 0.003, height * 0.25),
            box(skin, width * 0.7, 0.16, 0.012, 0, y - 0.08, height * 0.22),
            box(paper, 0.21, 0.14, 0.006, 0, y - 0.07, height * 0.22 + 0.012),
            box(metal(rng), width * 0.3, 0.05, 0.01, width * 0.3, y + 0.04, height),
        ]
    )


def radio(rng: Rng) -> Mesh:
    """A dial and a membrane under a handle."""
    width, height, depth = float(rng.uniform(0.2, 0.45)), float(rng.uniform(0.13, 0.25)), 0.1
    skin, y, grip = finish(rng), -depth / 2, metal(rng)
    r, x = min(height * 0.35, width * 0.22), width / 2
    return together(
        [
            box(skin, width, depth, height),
            disc(-width * 0.25, y, height / 2, r, 0.006, dark(rng)),
            box(grip, width * 0.35, 0.005, height * 0.3, width * 0.22, y - 0.002, height * 0.5),
            disc(width * 0.22, y, height * 0.25, height * 0.1, 0.015, grip),
            rod((-x, 0, height), (-x * 0.9, 0, height * 1.3), 0.006, grip),
            rod((x, 0, height), (x * 0.9, 0, height * 1.3), 0.006, grip),
            rod((-x * 0.9, 0, height * 1.3), (x * 0.9, 0, height * 1.3), 0.008, grip),
        ]
    )


def clock(rng: Rng) -> Mesh:
    """A dial with hands, its back at the wall."""
    r, rim = float(rng.uniform(0.1, 0.22)), metal(rng) if rng.random() < 0.5 else finish(rng)
    face, hand = painted(random_color(rng, (0, 0.2), (0.7, 0.98))), dark(rng)
    made = [disc(0, 0.02, r, r, 0.035, rim), disc(0, -0.015, r, r * 0.9, 0.004, face)]
    for long in (0.5, 0.75):
        angle = float(rng.uniform(0, 2 * np.pi))
        tip = (long * r * np.sin(angle), -0.022, r + long * r * np.cos(angle))
        made.append(rod((0, -0.022, r), tip, 0.006, hand, 4))
    return together(made)


def headphones(rng: Rng) -> Mesh:
    """Two cushions on a bow, upright or lying."""
    r, skin = float(rng.uniform(0.07, 0.09)), dark(rng) if rng.random() < 0.6 else enamel(rng)
    soft = cloth(rng)
    angles = np.linspace(0, np.pi, 11)
    bow = np.column_stack([r * np.cos(angles), np.zeros(11), 0.05 + 1.3 * r * np.sin(angles)])
    made = [rod(a, b, 0.01, skin, 4) for a, b in pairwise(bow)]
    for s in (-1, 1):
        cup = turned(
            [(0, 0), (0.035, 0), (0.04, 0.02), (0.035, 0.04), (0, 0.04)],
            soft if rng.random() < 0.5 else skin,
            12,
        )
        made.append(
            cup.moved(
                np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]]), np.array([s * r - 0.02, 0, 0.045])
            )
        )
    if rng.random() < 0.5:  # it lies
        return together(made).moved(
            np.array([[1.0, 0, 0], [0, 0.2, -1], [0, 1, 0.2]]), np.zeros(3)
        )
    return together(made)


def pinball_machine(rng: Rng) -> Mesh:
    """A slanted playfield on legs with a lit board behind."""
    width, long, low = float(rng.uniform(0.55, 0.75)), float(rng.uniform(1.1, 1.4)), 0.72
    side = painted(random_color(rng, (0.4, 1), (0.2, 0.9)), 0.3)
    rise, y, steel = float(rng.uniform(0.1, 0.2)), long / 2, metal(rng)
    outline = [(y, low), (y, low + 0.25 + rise), (-y, low + 0.25), (-y, low)]
    up = np.array([0, long - 0.1, rise])
    field = quad(
        np.array([-width / 2 + 0.04, -y + 0.05, low + 0.262]),
        np.array([width - 0.08, 0, 0]),
        up,
        matt(screen(rng), 0.5, 0.8),
        np.ones(2),
    )
    head = float(rng.uniform(0.55, 0.75))
    z = low + 0.25 + rise
    board = quad(
        np.array([-width / 2 + 0.03, y - 0.222, z + 0.03]),
        np.array([width - 0.06, 0, 0]),
        np.array([0, 0, head - 0.06]),
        matt(screen(rng), 0.3, 1.5),
        np.ones(2),
    )
    feet = [
        rod(
            (sx * width * 0.45, sy * y * 0.93, 0),
            (sx * width * 0.45, sy * y * 0.93, low + 0.1),
            0.025,
            steel,
            4,
        )
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    return together(
        [
            drawn_out(outline, width, side),
            field,
            box(side, width, 0.22, head, 0, y - 0.11, z),
            board,
            *feet,
        ]
    )
