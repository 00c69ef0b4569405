"""Slender and soft things: lamps, ladders, racks, cloth, plants."""

from __future__ import annotations

import numpy as np

from geopurify_ros.train.rooms.built.parts import (
    box,
    cloth,
    dark,
    enamel,
    finish,
    metal,
    rod,
    together,
    turned,
)
from geopurify_ros.train.rooms.built.vessels import glaze, hollow, wavy
from geopurify_ros.train.rooms.mesh import Floats, Material, Mesh
from geopurify_ros.train.rooms.shapes import curtain, matt, painted, quad
from geopurify_ros.train.rooms.textures import Rng, pattern, plain, random_color


def candle(rng: Rng) -> Mesh:
    """One to three on a dish or on sticks."""
    wax, made = painted(random_color(rng, (0, 0.6), (0.5, 0.98))), []
    for x in np.arange(int(rng.integers(1, 4))) * 0.09:
        r, low, high = rng.uniform((0.01, 0.01, 0.06), (0.035, 0.15, 0.2)).tolist()
        stick = [(0.04, 0), (0.035, 0.01), (0.008, 0.015), (0.008, low), (r * 1.2, low)]
        made += [
            turned(stick, metal(rng), 12, (float(x), 0, 0)),
            turned([(r, low), (r, low + high), (0, low + high)], wax, 12, (float(x), 0, 0)),
        ]
    return together(made)


def lamp(rng: Rng) -> Mesh:
    """A foot, a pole and a shade; for a table or the floor."""
    tall = float(rng.uniform(0.3, 0.6)) if rng.random() < 0.5 else float(rng.uniform(1.3, 1.8))
    r, shade = float(rng.uniform(0.1, 0.24)), float(rng.uniform(0.14, 0.32))
    pole = metal(rng) if rng.random() < 0.6 else finish(rng)
    above = r * float(rng.uniform(0.4, 1.0))
    foot = r * float(rng.uniform(0.5, 0.9))
    low = tall - shade
    if tall < 0.7 and rng.random() < 0.5:
        stem = turned([*wavy(rng, foot, low, 0.3), (0.01, low + 0.02)], glaze(rng), 16)
    else:
        stem = turned(
            [(0, 0), (foot, 0), (foot, 0.02), (0.012, 0.03), (0.012, low + 0.05)], pole, 16
        )
    color = random_color(rng, (0, 0.35), (0.75, 0.98))
    screen = painted(color) if rng.random() < 0.6 else matt(plain(rng, color))
    return together([stem, turned([(r, low), (above, tall)], screen, 20)])


def wall_lamp(rng: Rng) -> Mesh:
    """A shade or a ball on an arm, its plate at the wall."""
    steel, shade = metal(rng), painted(random_color(rng, (0, 0.3), (0.75, 0.98)))
    r, out = float(rng.uniform(0.06, 0.13)), float(rng.uniform(0.1, 0.22))
    made = [
        box(steel, 0.1, 0.02, 0.14, 0, out / 2 - 0.01, 0.03),
        rod((0, out / 2, 0.08), (0, -out / 2, 0.1), 0.01, steel),
    ]
    outline = [(r, 0.1), (r * float(rng.uniform(0.4, 1.0)), 0.1 + r * 1.6)]
    if rng.random() < 0.4:
        angle = np.linspace(0, np.pi, 9)
        outline = [(float(r * np.sin(a)), 0.1 + r - float(r * np.cos(a))) for a in angle]
    return together([*made, turned(outline, shade, 16, (0, -out / 2, 0))])


def towel(rng: Rng) -> Mesh:
    """A cloth over a bar at the wall."""
    width, fabric, steel = float(rng.uniform(0.25, 0.7)), cloth(rng), metal(rng)
    long, back = float(rng.uniform(0.3, 0.8)), float(rng.uniform(0.2, 0.5))
    top = max(long, back)
    bar = width / 2 + 0.06
    return together(
        [
            rod((-bar, 0, top), (bar, 0, top), 0.01, steel),
            rod((-bar, 0.06, top), (-bar, 0, top), 0.01, steel),
            rod((bar, 0.06, top), (bar, 0, top), 0.01, steel),
            box(fabric, width, 0.012, long, 0, -0.014, top - long + 0.012),
            box(fabric, width, 0.012, back, 0, 0.014, top - back + 0.012),
        ]
    )


def ladder(rng: Rng) -> Mesh:
    """Two rails with rungs, leaning, or a pair that stands by itself."""
    width, height, frame = float(rng.uniform(0.32, 0.5)), float(rng.uniform(0.7, 2.2)), metal(rng)
    if rng.random() < 0.3:
        frame = finish(rng)
    out, made = height * float(rng.uniform(0.12, 0.25)), []
    sides = (-1, 1) if rng.random() < 0.7 else (-1,)
    for s in sides:
        for x in (-1, 1):
            made.append(
                rod((x * width / 2, s * out, 0), (x * width * 0.42, 0, height), 0.022, frame, 4)
            )
    step = float(rng.uniform(0.22, 0.3))
    wide = float(rng.uniform(0.03, 0.12))
    for z in np.arange(step, height, step):
        y = -out * (1 - z / height)
        made.append(box(frame, width * 0.92, wide, 0.025, 0, float(y), float(z)))
    made.append(box(frame if rng.random() < 0.6 else dark(rng), width, 0.14, 0.03, 0, 0, height))
    return together(made)


def clothes_rack(rng: Rng) -> Mesh:
    """A rail on posts, with clothes on it, or a stand with hooks."""
    height, frame, made = float(rng.uniform(1.3, 1.9)), metal(rng), []
    if rng.random() < 0.35:
        frame = finish(rng)
        made = [turned([(0.2, 0), (0.2, 0.03), (0.02, 0.06), (0.02, height)], frame, 12)]
        for angle in np.arange(6) * np.pi / 3:
            tip = (0.16 * np.cos(angle), 0.16 * np.sin(angle), height)
            made.append(rod((0, 0, height - 0.15), tip, 0.01, frame))
        return together(made)
    width = float(rng.uniform(0.7, 1.4))
    for s in (-1, 1):
        x = s * width / 2
        made += [
            rod((x, 0, 0.05), (x, 0, height), 0.014, frame),
            rod((x, -0.22, 0.03), (x, 0.22, 0.03), 0.014, frame),
        ]
    made.append(rod((-width / 2, 0, height), (width / 2, 0, height), 0.014, frame))
    for x in rng.uniform(-0.42, 0.42, int(rng.integers(0, 9))) * width:
        garment = curtain(0.42, float(rng.uniform(0.5, 1.0)), rng)
        _, high = garment.bounds()
        quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
        made.append(garment.moved(quarter, np.array([x, 0, height - 0.04 - float(high[2])])))
    return together(made)


def room_divider(rng: Rng) -> Mesh:
    """Three or more panels, folded."""
    wide, height, frame = float(rng.uniform(0.35, 0.5)), float(rng.uniform(1.4, 1.9)), finish(rng)
    sheet = (
        matt(pattern(rng))
        if rng.random() < 0.4
        else painted(random_color(rng, (0, 0.3), (0.6, 0.97)))
    )
    fold, count, made = float(rng.uniform(0.15, 0.5)), int(rng.integers(3, 6)), []
    for k in range(count):
        angle = fold if k % 2 else -fold
        c, s = float(np.cos(angle)), float(np.sin(angle))
        panel = together(
            [
                box(sheet, wide - 0.06, 0.01, height - 0.14, 0, 0, 0.1),
                *(box(frame, 0.03, 0.025, height, x * (wide / 2 - 0.015)) for x in (-1, 1)),
                *(box(frame, wide, 0.025, 0.04, 0, 0, z) for z in (0.06, height - 0.04)),
            ]
        )
        at = np.array([(k - (count - 1) / 2) * wide * c, 0, 0])
        made.append(panel.moved(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), at))
    return together(made)


def _leaf(start: Floats, end: Floats, wide: float, material: Material) -> Mesh:
    """A flat blade from one point to the other."""
    along = end - start
    side = np.cross(along, [0.3, 0.2, 1.0])
    side *= wide / max(float(np.linalg.norm(side)), 1e-9)
    return quad(start - side / 2, along, side, material, np.ones(2))


def plant(rng: Rng) -> Mesh:
    """Blades or a crown of leaves in a pot."""
    r = float(rng.uniform(0.06, 0.22))
    height = r * float(rng.uniform(1.2, 2.0))
    green = random_color(rng, (0.4, 0.8), (0.25, 0.7)) * np.array([0.55, 1.0, 0.45], np.float32)
    leaf, pot = painted(green, 0.1), glaze(rng)
    made = [
        hollow([(0, 0), (r * 0.75, 0), (r, height)], pot, painted(np.array([0.2, 0.14, 0.1])), 16)
    ]
    tall, stem = r * float(rng.uniform(2, 6)), float(rng.uniform(0, 0.6))
    for _ in range(int(rng.integers(14, 50))):
        low = height + tall * stem * float(rng.random())
        angle, out = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.0) * tall * 0.6
        start = np.array([0.0, 0.0, low])
        rise = tall * (1 - stem) * rng.uniform(0.2, 1.0)
        end = start + np.array([out * np.cos(angle), out * np.sin(angle), rise])
        made.append(_leaf(start, end, float(rng.uniform(0.12, 0.4)) * tall * 0.5, leaf))
    if stem > 0.2:
        made.append(rod((0, 0, height * 0.8), (0, 0, height + tall * stem), 0.02, finish(rng)))
    return together(made)


def paper_towel(rng: Rng) -> Mesh:
    """A roll upright on a stick."""
    r, height = float(rng.uniform(0.05, 0.07)), float(rng.uniform(0.2, 0.26))
    paper = painted(random_color(rng, (0, 0.05), (0.88, 0.98)))
    return together(
        [
            turned([(0, 0), (0.075, 0), (0.075, 0.01), (0, 0.012)], finish(rng)),
            turned([(r, 0.012), (r, height), (0.02, height)], paper),
            turned([(0.012, height), (0.012, height + 0.05), (0, height + 0.05)], metal(rng), 8),
        ]
    )


def toilet_paper(rng: Rng) -> Mesh:
    """A roll on a holder at the wall."""
    paper, steel, r = painted(random_color(rng, (0, 0.05), (0.85, 0.98))), metal(rng), 0.055
    roll = turned([(0.02, -0.05), (r, -0.05), (r, 0.05), (0.02, 0.05)], paper, 16)
    sheet = float(rng.uniform(0.02, 0.09))
    lying = roll.moved(np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]]), np.array([0, 0, r]))
    return together(
        [
            lying,
            box(paper, 0.1, 0.003, sheet, 0, -r, r - sheet),
            rod((-0.06, 0, r), (0.06, 0, r), 0.006, steel),
            box(steel, 0.12, 0.01, 0.04, 0, 0.06, r),
            rod((0.06, 0.06, r), (0.06, 0, r), 0.006, steel),
        ]
    )


def extinguisher(rng: Rng) -> Mesh:
    """A red bottle with a hose."""
    r, height = float(rng.uniform(0.05, 0.08)), float(rng.uniform(0.32, 0.5))
    red = painted(
        random_color(rng, (0, 0.1), (0.6, 0.9)) * np.array([1.0, 0.12, 0.1], np.float32), 0.4
    )
    body = [
        (0, 0),
        (r, 0),
        (r, height * 0.75),
        (r * 0.4, height * 0.88),
        (0.02, height * 0.9),
        (0.02, height),
    ]
    return together(
        [
            turned(body, red),
            box(dark(rng), 0.12, 0.03, 0.03, 0.03, 0, height),
            rod((0.08, 0, height), (r + 0.03, 0, height * 0.3), 0.01, dark(rng)),
            turned([(r * 1.01, height * 0.3), (r * 1.01, height * 0.5)], enamel(rng)),
        ]
    )


def broom(rng: Rng) -> Mesh:
    """A stick with a brush, upright."""
    height, wide = float(rng.uniform(1.1, 1.5)), float(rng.uniform(0.22, 0.45))
    return together(
        [
            rod((0, 0, 0.12), (0, 0, height), 0.013, finish(rng)),
            box(finish(rng), wide, 0.06, 0.04, 0, 0, 0.09),
            box(cloth(rng), wide * 1.05, 0.07, 0.09),
        ]
    )
