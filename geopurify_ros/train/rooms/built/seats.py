"""Seats and beds from legs, boards and cushions."""

from __future__ import annotations

import numpy as np

from geopurify_ros.train.rooms.built.parts import (
    box,
    cloth,
    finish,
    legs,
    metal,
    rod,
    together,
    turned,
)
from geopurify_ros.train.rooms.mesh import Material, Mesh
from geopurify_ros.train.rooms.shapes import painted
from geopurify_ros.train.rooms.textures import Rng, random_color


def _back(rng: Rng, width: float, y: float, low: float, high: float, material: Material
          ) -> list[Mesh]:  # fmt: skip
    """Slats, bars or a panel between two posts that lean back."""
    lean, x = float(rng.uniform(0.02, 0.1)), width / 2 - 0.02
    made = [rod((s * x, y, low), (s * x, y + lean, high), 0.022, material, 4) for s in (-1, 1)]
    kind = int(rng.integers(3))
    if kind == 0:
        panel = box(
            material,
            width - 0.04,
            0.02,
            (high - low) * 0.6,
            0,
            y + lean * 0.7,
            high - (high - low) * 0.62,
        )
        return [*made, panel]
    if kind == 1:
        for z in np.linspace(low + 0.35 * (high - low), high - 0.03, int(rng.integers(2, 5))):
            made.append(
                box(material, width - 0.04, 0.015, 0.05, 0, y + lean * 0.8, float(z) - 0.05)
            )
        return made
    for at in np.linspace(-x, x, int(rng.integers(4, 8)))[1:-1]:
        made.append(rod((at, y, low), (at, y + lean, high), 0.01, material))
    made.append(box(material, width, 0.025, 0.06, 0, y + lean, high - 0.06))
    return made


def chair(rng: Rng) -> Mesh:
    """A seat on legs with a back; cushions and arms now and then."""
    width, depth = float(rng.uniform(0.36, 0.52)), float(rng.uniform(0.36, 0.52))
    seat, high = float(rng.uniform(0.42, 0.5)), float(rng.uniform(0.72, 1.1))
    frame = metal(rng) if rng.random() < 0.3 else finish(rng)
    made = [
        *legs(frame, width, depth, seat, rng, 0.03),
        box(frame, width, depth, float(rng.uniform(0.02, 0.05)), 0, 0, seat - 0.03),
    ]
    made += _back(rng, width, depth / 2 - 0.02, seat, high, frame)
    if rng.random() < 0.4:
        made.append(box(cloth(rng), width - 0.03, depth - 0.05, 0.05, 0, -0.01, seat))
    if rng.random() < 0.15:
        for s in (-1, 1):
            x = s * (width / 2 - 0.01)
            made.append(box(frame, 0.04, depth, 0.025, x, 0, seat + 0.2))
            made.append(
                rod(
                    (x, -depth / 2 + 0.04, seat),
                    (x, -depth / 2 + 0.04, seat + 0.2),
                    0.018,
                    frame,
                    4,
                )
            )
    return together(made)


def office_chair(rng: Rng) -> Mesh:
    """A cushion on a column over a star of five feet."""
    seat, fabric, frame = float(rng.uniform(0.42, 0.55)), cloth(rng), metal(rng)
    width, high = float(rng.uniform(0.42, 0.55)), float(rng.uniform(0.85, 1.25))
    made = [turned([(0.03, 0.06), (0.03, seat)], frame, 8)]
    for angle in np.arange(5) * 2 * np.pi / 5:
        tip = (0.3 * np.cos(angle), 0.3 * np.sin(angle), 0.05)
        made.append(rod((0, 0, 0.1), tip, 0.025, frame, 4, 0.015))
        made.append(
            turned([(0, 0), (0.025, 0), (0.025, 0.05), (0, 0.05)], frame, 8, (tip[0], tip[1], 0))
        )
    made.append(box(fabric, width, width, 0.08, 0, 0, seat))
    made.append(box(frame, 0.06, 0.02, 0.3, 0, width / 2 + 0.02, seat))
    made.append(box(fabric, width - 0.04, 0.07, high - seat - 0.15, 0, width / 2, seat + 0.15))
    if rng.random() < 0.6:
        for s in (-1, 1):
            made.append(box(frame, 0.05, 0.26, 0.03, s * (width / 2 + 0.03), 0, seat + 0.22))
            made.append(box(frame, 0.03, 0.05, 0.22, s * (width / 2 + 0.03), 0, seat))
    return together(made)


def stool(rng: Rng) -> Mesh:
    """Round or square, low or for a bar, sometimes on a column."""
    seat, wide = float(rng.uniform(0.38, 0.8)), float(rng.uniform(0.28, 0.42))
    frame = metal(rng) if rng.random() < 0.4 else finish(rng)
    top = cloth(rng) if rng.random() < 0.4 else finish(rng)
    thick = float(rng.uniform(0.02, 0.08))
    if rng.random() < 0.5:
        disc = [(0.0, seat), (wide / 2, seat), (wide / 2, seat + thick), (0.0, seat + thick)]
        made = [turned(disc, top)]
    else:
        made = [box(top, wide, wide, thick, 0, 0, seat)]
    if rng.random() < 0.25:
        foot = [(wide * 0.5, 0), (wide * 0.5, 0.02), (0.03, 0.05), (0.03, seat)]
        return together([*made, turned(foot, frame)])
    made += legs(frame, wide, wide, seat, rng, 0.04)
    if seat > 0.55 or rng.random() < 0.3:
        x, z = wide / 2 - 0.04, seat * 0.35
        for s in (-1, 1):
            made.append(rod((-x, s * x, z), (x, s * x, z), 0.01, frame))
            made.append(rod((s * x, -x, z), (s * x, x, z), 0.01, frame))
    return together(made)


def bench(rng: Rng) -> Mesh:
    """A long seat of planks or a cushion, mostly without a back."""
    width, depth = float(rng.uniform(0.8, 1.7)), float(rng.uniform(0.28, 0.45))
    seat, wood = float(rng.uniform(0.38, 0.5)), finish(rng)
    carrier = wood if rng.random() < 0.7 else metal(rng)
    made = []
    planks = int(rng.integers(1, 5))
    for y in (np.arange(planks) + 0.5) / planks - 0.5:
        made.append(
            box(wood, width, depth / planks - 0.008, 0.03, 0, float(y) * depth, seat - 0.03)
        )
    if rng.random() < 0.5:
        made += [
            box(carrier, 0.04, depth - 0.03, seat - 0.03, s * (width / 2 - 0.12)) for s in (-1, 1)
        ]
    else:
        made += legs(carrier, width, depth, seat - 0.03, rng, 0.05)
    if rng.random() < 0.3:
        made.append(box(cloth(rng), width - 0.02, depth - 0.02, 0.06, 0, 0, seat))
    if rng.random() < 0.3:
        made += _back(rng, width, depth / 2 - 0.02, seat, seat + 0.4, wood)
    return together(made)


def _upholstered(rng: Rng, width: float, seats: int) -> Mesh:
    """Arms, a back and as many cushions as seats."""
    depth, seat = float(rng.uniform(0.7, 1.0)), float(rng.uniform(0.36, 0.48))
    high, arm = float(rng.uniform(0.65, 1.0)), min(float(rng.uniform(0.06, 0.24)), 0.2 * width)
    arm_high = seat + float(rng.uniform(0.08, 0.25))
    fabric, foot = cloth(rng), float(rng.uniform(0.0, 0.15))
    other = fabric if rng.random() < 0.75 else cloth(rng)
    back = float(rng.uniform(0.12, 0.28))
    made = [box(fabric, width, depth, seat - 0.14 - foot, 0, 0, foot)]
    if foot > 0.02:
        made += legs(finish(rng), width, depth, foot, rng, 0.06)
    made += [
        box(fabric, arm, depth, arm_high - foot, s * (width - arm) / 2, 0, foot) for s in (-1, 1)
    ]
    made.append(box(fabric, width - 2 * arm, back, high - foot, 0, (depth - back) / 2, foot))
    inner = (width - 2 * arm) / seats
    for k in range(seats):
        x = (k - (seats - 1) / 2) * inner
        made.append(box(other, inner - 0.015, depth - back, 0.15, x, -back / 2, seat - 0.15))
        if rng.random() < 0.7:
            made.append(
                box(
                    other, inner - 0.02, 0.14, high - seat - 0.03, x, depth / 2 - back - 0.07, seat
                )
            )
    return together(made)


def sofa(rng: Rng) -> Mesh:
    """For two to four."""
    seats = int(rng.integers(2, 5))
    return _upholstered(rng, 0.25 + seats * float(rng.uniform(0.5, 0.72)), seats)


def armchair(rng: Rng) -> Mesh:
    """For one."""
    return _upholstered(rng, float(rng.uniform(0.65, 1.05)), 1)


def ottoman(rng: Rng) -> Mesh:
    """A cushion of its own, round or square."""
    wide, height, fabric = (
        float(rng.uniform(0.38, 0.75)),
        float(rng.uniform(0.3, 0.48)),
        cloth(rng),
    )
    if rng.random() < 0.5:
        r = wide / 2
        bulge = [
            (0.0, 0.0),
            (r * 0.9, 0.0),
            (r, height * 0.3),
            (r, height * 0.7),
            (r * 0.9, height),
            (0.0, height),
        ]
        return turned(bulge, fabric)
    return together(
        [
            box(fabric, wide, wide * float(rng.uniform(0.7, 1)), height - 0.06, 0, 0, 0.06),
            *legs(finish(rng), wide, wide * 0.7, 0.06, rng),
        ]
    )


def bed(rng: Rng) -> Mesh:
    """A frame, a mattress, a cover, pillows and mostly a board at the head."""
    width, length = float(rng.uniform(0.85, 1.9)), float(rng.uniform(1.9, 2.15))
    low, thick = float(rng.uniform(0.2, 0.4)), float(rng.uniform(0.14, 0.28))
    frame, cover = finish(rng), cloth(rng)
    sheet = painted(random_color(rng, (0, 0.15), (0.7, 0.98)))
    made = [
        box(frame, width, length, low * 0.6, 0, 0, low * 0.4),
        *legs(frame, width, length, low * 0.4, rng, 0.05),
        box(sheet, width - 0.04, length - 0.04, thick, 0, 0, low),
    ]
    covered = float(rng.uniform(0.5, 0.8)) * length
    made.append(
        box(
            cover,
            width + 0.02,
            covered,
            thick * 0.9 + 0.02,
            0,
            -(length - covered) / 2,
            low + thick * 0.1 + 0.01,
        )
    )
    for k in range(1 if width < 1.2 else 2):
        x = 0 if width < 1.2 else (k - 0.5) * width * 0.48
        made.append(box(sheet, 0.5, 0.34, 0.12, x, length / 2 - 0.22, low + thick))
    if rng.random() < 0.85:
        made.append(
            box(
                frame if rng.random() < 0.6 else cloth(rng),
                width,
                0.06,
                float(rng.uniform(0.7, 1.2)),
                0,
                length / 2,
            )
        )
    return together(made)
