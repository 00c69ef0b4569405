"""Machines of kitchens and bathrooms, from blocks, discs and rods."""

from __future__ import annotations

import numpy as np

from geopurify_ros.train.rooms.built.parts import (
    box,
    dark,
    disc,
    drawn_out,
    enamel,
    metal,
    rod,
    together,
    turned,
)
from geopurify_ros.train.rooms.mesh import Material, Mesh
from geopurify_ros.train.rooms.shapes import painted
from geopurify_ros.train.rooms.textures import Rng, random_color


def _panel(rng: Rng, width: float, height: float, y: float, z: float, face: Material
           ) -> list[Mesh]:  # fmt: skip
    """A strip of knobs and a display on the plane y."""
    made = [box(face, width, 0.006, height, 0, y - 0.003, z)]
    knob, count = metal(rng), int(rng.integers(2, 7))
    for x in (np.arange(count) + 0.5) / count - 0.5:
        made.append(
            disc(float(x) * width * 0.8, y - 0.006, z + height / 2, height * 0.28, 0.02, knob)
        )
    if rng.random() < 0.5:
        made.append(box(dark(rng), width * 0.2, 0.004, height * 0.5, 0, y - 0.008, z + height / 4))
    return made


def refrigerator(rng: Rng) -> Mesh:
    """One to four doors, bars as handles, now and then a water tap in a door."""
    width, depth, height = rng.uniform((0.5, 0.5, 0.8), (0.95, 0.75, 2.05)).tolist()
    skin, grip, y = enamel(rng), metal(rng), -depth / 2
    made = [
        box(skin, width, depth, height - 0.04, 0, 0.02, 0.04),
        box(dark(rng), width - 0.04, depth - 0.06, 0.04),
    ]
    columns = 2 if width > 0.78 and rng.random() < 0.7 else 1
    split = float(rng.choice([0.0, 0.3, 0.35, 0.65, 0.7])) if height > 1.1 else 0.0
    right = rng.random() < 0.5
    for low, high in [(0.0, split), (split, 1.0)] if split else [(0.0, 1.0)]:
        z, tall = 0.05 + low * (height - 0.06), (high - low) * (height - 0.06) - 0.008
        for column in range(columns):
            w = width / columns
            x = -width / 2 + (column + 0.5) * w
            made.append(box(skin, w - 0.006, 0.04, tall, x, y - 0.02, z))
            side = (1 if column == 0 else -1) if columns == 2 else (1 if right else -1)
            bar, long = x + side * (w / 2 - 0.05), min(0.5, tall * 0.6)
            middle = z + (0.65 if low == 0 and split else 0.4) * tall
            if rng.random() < 0.85:
                made.append(
                    rod(
                        (bar, y - 0.07, middle - long / 2),
                        (bar, y - 0.07, middle + long / 2),
                        0.011,
                        grip,
                        6,
                    )
                )
    if columns == 2 and rng.random() < 0.4:
        made.append(box(dark(rng), 0.17, 0.01, 0.3, -width / 4, y - 0.042, height * 0.55))
    return together(made)


def oven(rng: Rng) -> Mesh:
    """A glass door with a bar, knobs above, a hob on top."""
    width, depth, height = rng.uniform((0.5, 0.52, 0.8), (0.9, 0.66, 0.95)).tolist()
    skin, y, glass = enamel(rng), -depth / 2, dark(rng)
    made = [
        box(skin, width, depth, height - 0.015),
        *_panel(rng, width, 0.1, y, height - 0.12, skin),
    ]
    low = float(rng.uniform(0.1, 0.3))
    door = height - 0.13 - low
    made += [
        box(skin, width - 0.01, 0.03, door, 0, y - 0.015, low),
        box(glass, width * 0.75, 0.004, door * 0.6, 0, y - 0.032, low + door * 0.15),
        rod(
            (-width * 0.38, y - 0.06, low + door - 0.06),
            (width * 0.38, y - 0.06, low + door - 0.06),
            0.01,
            metal(rng),
        ),
        box(
            glass if rng.random() < 0.6 else metal(rng), width, depth, 0.015, 0, 0, height - 0.015
        ),
    ]
    return together([*made, *_rings(rng, width, depth, height)])


def _rings(rng: Rng, width: float, depth: float, z: float) -> list[Mesh]:
    """The four hot plates of a hob."""
    plate = dark(rng) if rng.random() < 0.6 else metal(rng)
    return [
        turned([(r, z), (r, z + 0.008), (0.0, z + 0.008)], plate, 16,
               (sx * width * 0.23, sy * depth * 0.22, 0.0))
        for sx in (-1, 1) for sy in (-1, 1) for r in [float(rng.uniform(0.06, 0.1))]
    ]  # fmt: skip


def cooktop(rng: Rng) -> Mesh:
    """The hob alone."""
    width, depth = float(rng.uniform(0.5, 0.8)), float(rng.uniform(0.45, 0.55))
    top = dark(rng) if rng.random() < 0.7 else metal(rng)
    return together([box(top, width, depth, 0.02), *_rings(rng, width, depth, 0.02)])


def range_hood(rng: Rng) -> Mesh:
    """A slanted hood under a chimney."""
    width, depth = float(rng.uniform(0.55, 1.0)), float(rng.uniform(0.4, 0.55))
    skin, low = enamel(rng), float(rng.uniform(0.06, 0.3))
    high, deep = float(rng.uniform(0.5, 0.9)), float(rng.uniform(0.2, 0.3))
    outline = [
        (depth / 2, 0.0),
        (depth / 2, low),
        (depth / 2 - deep, low),
        (-depth / 2, 0.05),
        (-depth / 2, 0.0),
    ]
    return together(
        [
            drawn_out(outline, width, skin),
            box(skin, deep, deep, high - low, 0, depth / 2 - deep / 2, low),
        ]
    )


def microwave(rng: Rng) -> Mesh:
    """A dark window and a strip of keys at its right."""
    width, depth, height = rng.uniform((0.42, 0.3, 0.24), (0.58, 0.42, 0.34)).tolist()
    skin, y, door = enamel(rng), -depth / 2, float(rng.uniform(0.68, 0.8))
    x = -width * (1 - door) / 2
    made = [
        box(skin, width, depth, height),
        box(dark(rng), width * door - 0.02, 0.012, height - 0.03, x, y - 0.006, 0.015),
        box(
            metal(rng),
            width * (1 - door) - 0.02,
            0.006,
            height - 0.05,
            width * door / 2,
            y - 0.003,
            0.025,
        ),
    ]
    knobs = int(rng.integers(1, 4))
    for k in range(knobs):
        made.append(
            disc(
                width * door / 2, y - 0.006, height * (k + 0.7) / (knobs + 0.4), 0.022, 0.015, skin
            )
        )
    return together(made)


def washing_machine(rng: Rng) -> Mesh:
    """A round door in front, or a flat one as dishwashers have."""
    width, depth, height = rng.uniform((0.55, 0.45, 0.8), (0.68, 0.68, 0.95)).tolist()
    skin, y = enamel(rng), -depth / 2
    made = [
        box(skin, width, depth, height),
        *_panel(rng, width, 0.11, y, height - 0.13, enamel(rng)),
    ]
    if rng.random() < 0.8:
        r, z = float(rng.uniform(0.14, 0.21)), height * float(rng.uniform(0.42, 0.5))
        made += [
            disc(0, y, z, r + 0.03, 0.02, metal(rng)),
            disc(0, y - 0.02, z, r, 0.012, dark(rng)),
        ]
    else:
        made += [
            box(skin, width - 0.01, 0.025, height - 0.22, 0, y - 0.012, 0.08),
            rod(
                (-width * 0.35, y - 0.05, height - 0.2),
                (width * 0.35, y - 0.05, height - 0.2),
                0.01,
                metal(rng),
            ),
        ]
    return together(made)


def water_cooler(rng: Rng) -> Mesh:
    """A column with taps and a big bottle upside down on it."""
    width, height, skin = (
        float(rng.uniform(0.26, 0.36)),
        float(rng.uniform(0.8, 1.05)),
        enamel(rng),
    )
    y, r = -width / 2, float(rng.uniform(0.11, 0.14))
    blue = painted(
        random_color(rng, (0.2, 0.6), (0.5, 0.9)) * np.array([0.6, 0.9, 1.0], np.float32), 0.6
    )
    made = [
        box(skin, width, width, height),
        box(dark(rng), width * 0.7, 0.01, 0.2, 0, y - 0.005, height - 0.35),
    ]
    for s in (-1, 1):
        made.append(
            rod(
                (s * 0.05, y, height - 0.18),
                (s * 0.05, y - 0.05, height - 0.2),
                0.014,
                painted(random_color(rng, (0.7, 1), (0.5, 0.9))),
            )
        )
    bottle = [
        (0.03, 0),
        (r * 0.5, 0.02),
        (r, 0.09),
        (r * 0.95, 0.2),
        (r, 0.24),
        (r, 0.36),
        (r * 0.7, 0.4),
        (0, 0.4),
    ]
    return together([*made, turned([(a, height + b) for a, b in bottle], blue)])


def water_heater(rng: Rng) -> Mesh:
    """A round or square tank that hangs, pipes below."""
    r, height = float(rng.uniform(0.17, 0.28)), float(rng.uniform(0.45, 1.0))
    skin, steel = enamel(rng), metal(rng)
    z, front = 0.12, -r
    if rng.random() < 0.6:
        tank = turned(
            [
                (0, z),
                (r * 0.9, z),
                (r, z + 0.05),
                (r, z + height - 0.05),
                (r * 0.9, z + height),
                (0, z + height),
            ],
            skin,
            24,
        )
    else:
        front = -0.8 * r
        tank = box(skin, 2 * r, 1.6 * r, height, 0, 0, z)
    pipes = [rod((s * 0.07, 0, 0), (s * 0.07, 0, z), 0.011, steel) for s in (-1, 1)]
    return together([tank, *pipes, disc(0, front, z + 0.1, 0.03, 0.015, dark(rng))])


def coffee_machine(rng: Rng) -> Mesh:
    """A back, a head, a foot and a jug between them."""
    width, height = float(rng.uniform(0.16, 0.32)), float(rng.uniform(0.26, 0.42))
    skin, depth = enamel(rng), float(rng.uniform(0.2, 0.32))
    r = width * 0.35
    jug = turned(
        [(0, 0.03), (r, 0.03), (r, 0.03 + height * 0.3), (r * 0.7, height * 0.5)],
        dark(rng),
        16,
        (0, -depth * 0.15, 0),
    )
    return together(
        [
            box(skin, width, depth, 0.03),
            jug,
            box(skin, width, depth * 0.35, height, 0, depth * 0.325),
            box(
                skin if rng.random() < 0.5 else metal(rng),
                width,
                depth * 0.9,
                height * 0.35,
                0,
                0,
                height * 0.65,
            ),
        ]
    )


def blender(rng: Rng) -> Mesh:
    """A jug on a motor."""
    r, height, glass = float(rng.uniform(0.06, 0.09)), float(rng.uniform(0.18, 0.28)), metal(rng)
    foot = [(0, 0), (r * 1.1, 0), (r * 0.8, 0.12), (0, 0.12)]
    jug = [(r * 0.6, 0.12), (r, 0.12 + height), (r, 0.14 + height), (0, 0.15 + height)]
    return together(
        [
            turned(foot, enamel(rng), 12),
            turned(jug, glass, 14),
            disc(0, -r, 0.06, 0.02, 0.012, dark(rng)),
        ]
    )
