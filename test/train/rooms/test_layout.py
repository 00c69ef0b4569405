"""Placement of `geopurify train rooms`: boxes may touch, and never overlap."""

import numpy as np
import pytest

from geopurify_ros.train.rooms.layout import TOLERANCE_M, Box, Layout, overlap_m


def box(x, y, w=1.0, d=1.0, yaw=0.0, z0=0.0, z1=1.0):
    return Box(x, y, w / 2, d / 2, yaw, z0, z1)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (box(0.7, 0), 0.3),
        (box(1.0, 0), 0.0),  # touching
        (box(1.5, 0), -0.5),
        (box(0, 0, z0=0.9, z1=2.0), 0.1),
        (box(0, 0, z0=1.0, z1=2.0), 0.0),  # one on the other
        (box(0.5 + np.sqrt(0.5), 0, yaw=np.pi / 4), 0.0),  # a corner against a side
    ],
)
def test_overlap_of_two_boxes(other, expected):
    assert overlap_m(box(0, 0), other) == pytest.approx(expected, abs=1e-9)
    assert overlap_m(other, box(0, 0)) == pytest.approx(expected, abs=1e-9)


def test_overlap_agrees_with_random_points():
    """Reference: two boxes overlap if a point lies in both."""
    rng = np.random.default_rng(0)

    def holds(one, points):
        local = np.abs((points - [one.x, one.y]) @ one.axes.T)
        return (local < [one.half_w, one.half_d]).all(axis=1)

    points = rng.uniform(-2, 2, (20000, 2))
    for _ in range(60):
        a, b = (box(*rng.uniform(-1, 1, 2), *rng.uniform(0.3, 1.5, 2), rng.uniform(-3, 3))
                for _ in range(2))
        shared = (holds(a, points) & holds(b, points)).any()
        if abs(overlap_m(a, b)) > 0.05:
            assert shared == (overlap_m(a, b) > 0)


def filled(seed, touching=0.3):
    rng = np.random.default_rng(seed)
    layout = Layout(4.0, 3.0, 2.5)
    for _ in range(40):
        size = rng.uniform(0.2, 1.0, 3).tolist()
        found = (layout.against_wall(size, float(rng.choice([0.0, 1.2])), rng, touching)
                 if rng.random() < 0.6 else layout.free(size, rng))
        if found is not None:
            layout.add(found)
    return layout


@pytest.mark.parametrize("seed", range(5))
def test_nothing_overlaps_and_all_is_inside(seed):
    layout = filled(seed)
    assert len(layout.boxes) > 8
    for k, one in enumerate(layout.boxes):
        corners = one.corners()
        assert (corners > -TOLERANCE_M - 1e-9).all()
        assert (corners < np.array([4.0, 3.0]) + TOLERANCE_M).all()
        assert one.z1 <= 2.5
        assert all(overlap_m(one, other) <= TOLERANCE_M for other in layout.boxes[:k])


def test_some_things_touch():
    layout = filled(0, touching=1.0)
    pairs = [(a, b) for k, a in enumerate(layout.boxes) for b in layout.boxes[:k]]
    assert any(-0.001 < overlap_m(a, b) <= TOLERANCE_M for a, b in pairs)


def test_the_same_seed_gives_the_same_layout():
    assert filled(3).boxes == filled(3).boxes
    assert filled(3).boxes != filled(4).boxes


def test_the_back_is_at_the_wall():
    rng = np.random.default_rng(0)
    for _ in range(20):
        one = Layout(4.0, 3.0, 2.5).against_wall((0.8, 0.4, 1.0), 0.0, rng, 0)
        back = np.array([one.x, one.y]) + one.axes[1] * one.half_d
        gap = min(back[0], 4.0 - back[0], back[1], 3.0 - back[1])
        assert 0 <= gap <= 0.0601


def test_a_thing_on_a_table_stays_on_it():
    rng = np.random.default_rng(0)
    layout = Layout(4.0, 3.0, 2.5)
    host = layout.add(box(2.0, 1.5, 1.2, 0.8, yaw=0.4))
    area = box(2.0, 1.5, 1.2, 0.8, yaw=0.4, z0=0.9, z1=1.5)
    cup = layout.on_top((0.1, 0.1, 0.1), host, area, rng)
    local = np.abs((cup.corners() - [2.0, 1.5]) @ area.axes.T)
    assert (local < [0.6, 0.4]).all()
    assert cup.z0 == 0.9
    assert layout.on_top((0.1, 0.1, 0.7), host, area, rng) is None  # too tall for the shelf


def test_a_chair_faces_its_table():
    rng = np.random.default_rng(1)
    layout = Layout(6.0, 6.0, 2.5)
    host = layout.add(box(3.0, 3.0, 1.6, 0.9, yaw=0.3))
    for _ in range(20):
        chair = layout.drawn_up((0.5, 0.5, 0.9), host, rng)
        front = -chair.axes[1]
        towards = np.array([3.0, 3.0]) - [chair.x, chair.y]
        assert front @ towards > 0.3 * np.linalg.norm(towards)
        assert overlap_m(chair, layout.boxes[host]) < 0.25
