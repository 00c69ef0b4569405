"""How full `geopurify train rooms` makes rooms."""

import hashlib

import numpy as np
import pytest

from geopurify_ros.train.rooms.catalogue import FURNITURE_FOLDER
from geopurify_ros.train.rooms.classes import room_classes
from geopurify_ros.train.rooms.furnish import build_room
from geopurify_ros.train.rooms.generate import models_of
from geopurify_ros.train.rooms.variety import DENSE_CLUTTER, USUAL, Variety

pytestmark = pytest.mark.skipif(
    not FURNITURE_FOLDER.is_dir(), reason="needs the Debian package sweethome3d-furniture"
)


def built(seed, variety=USUAL):
    return build_room(models_of("train"), np.random.default_rng(seed), variety)


@pytest.mark.parametrize(("seed", "expected"), [(1, "c04787f2adf58bb4"), (2, "c76e83683ec9bcb3")])
def test_rooms_stay_what_they_were(seed, expected):
    """Half-finished folders are continued: a seed must go on to give the same room."""
    names = "\n".join(item.name for item in built(seed).items)
    assert hashlib.sha256(names.encode()).hexdigest()[:16] == expected


def test_dense_rooms_hold_far_more_small_things():
    def num_small(variety: Variety) -> int:
        return sum(room_classes()[item.label].place == "top"
                   for seed in range(3) for item in built(seed, variety).items)

    assert num_small(Variety(clutter=DENSE_CLUTTER)) > 1.6 * num_small(USUAL)
