"""Pairs by stamp: nearest within the slop, every colour image is paired or given up once."""

from __future__ import annotations

import random

from geopurify_ros.data.messages.pair_sync import PairSync

MS = 1_000_000


def make(slop_ms: float = 20, queue_size: int = 10):
    pairs, dropped = [], []
    sync = PairSync(int(slop_ms * MS), queue_size, lambda a, b: pairs.append((a, b)),
                    dropped.append)
    return sync, pairs, dropped


def test_equal_stamps_pair_in_either_order_of_arrival():
    sync, pairs, dropped = make()
    sync.add(0, 0, "rgb 0")
    sync.add(1, 0, "depth 0")
    sync.add(1, 33 * MS, "depth 1")
    sync.add(0, 33 * MS, "rgb 1")
    assert pairs == [("rgb 0", "depth 0"), ("rgb 1", "depth 1")]
    assert dropped == []


def test_slop_is_the_largest_difference():
    sync, pairs, _ = make(slop_ms=5)
    sync.add(0, 0, "rgb")
    sync.add(1, 6 * MS, "too late")
    assert pairs == []
    sync.add(0, 11 * MS, "next")
    assert pairs == [("next", "too late")]


def test_nearest_partner_wins():
    sync, pairs, _ = make()
    sync.add(1, 0, "depth 0")
    sync.add(1, 15 * MS, "depth 15")
    sync.add(0, 12 * MS, "rgb 12")
    assert pairs == [("rgb 12", "depth 15")]


def test_unpaired_colour_is_given_up_once_a_later_pair_is_out():
    sync, pairs, dropped = make()
    sync.add(0, 0, "rgb 0")
    sync.add(0, 33 * MS, "rgb 1")
    sync.add(1, 33 * MS, "depth 1")
    assert pairs == [("rgb 1", "depth 1")]
    assert dropped == ["rgb 0"]


def test_queue_is_bounded():
    sync, _, dropped = make(queue_size=3)
    for i in range(10):
        sync.add(0, i * 100 * MS, f"rgb {i}")
    assert dropped == [f"rgb {i}" for i in range(7)]
    assert sync.clear() == 3
    assert sync.clear() == 0


def test_every_colour_image_is_paired_or_given_up_exactly_once():
    """Jitter, losses and shuffled arrival: nothing is lost from the books."""
    generator = random.Random(0)
    sync, pairs, dropped = make(slop_ms=10, queue_size=5)
    events = []
    for i in range(500):
        for topic in (0, 1):
            if generator.random() > 0.2:
                stamp = i * 33 * MS + int(generator.uniform(-3, 3) * MS)
                events.append((stamp + int(generator.uniform(0, 40) * MS), topic, stamp, i))
    for _, topic, stamp, i in sorted(events):
        sync.add(topic, stamp, i)
    sent = sorted(i for _, topic, _, i in events if topic == 0)
    done = sorted([a for a, _ in pairs] + dropped)
    assert set(done) <= set(sent)
    assert len(done) == len(set(done)) == len(sent) - sync.clear()
    assert all(a == b for a, b in pairs)
    assert len(pairs) > 250
