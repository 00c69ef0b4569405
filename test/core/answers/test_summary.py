"""What is said of each prompt: pieces, a place inside the largest one, what it would be else."""

import pytest
import torch

from geopurify_ros.core.answers.query import Reasons, TextQuery, VoxelLabels
from geopurify_ros.core.answers.summary import summarize

ASKED = TextQuery(("chair", "table", "lamp"), None, 0.2, 2)
# five voxels in a row, one apart, one of another label
COORDS = torch.tensor([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0], [9, 9, 9],
                       [0, 5, 0]])
LABEL = torch.tensor([1, 1, 1, 1, 1, 1, 2])
SCORE = torch.tensor([0.9, 0.6, 0.8, 0.7, 0.75, 0.95, 0.5])
REASONS = Reasons(("chair", "table", "lamp", "stool", "wall"),
                  torch.tensor([3, 3, 4, 3, 3, 4, -1]), ((3, 2.0), (1, 0.5), (4, 0.12)),
                  ("chair", "table", "light"), (0, 1, 2), (True,) * 3)


def test_the_largest_piece_is_the_thing():
    chair = summarize(ASKED, VoxelLabels(LABEL, SCORE, REASONS), COORDS, 0.05)[0]
    assert (chair.found, chair.num_voxels, chair.num_pieces) == (True, 6, 2)
    assert chair.score == pytest.approx(0.75)  # the mean of the piece, not of the lone voxel
    # 0.9 stands at the rim, with one neighbour
    assert chair.best_position_m == pytest.approx((0.125, 0.025, 0.025))
    assert chair.box_m == (pytest.approx((0, 0, 0)), pytest.approx((0.25, 0.05, 0.05)))
    assert chair.otherwise == "stool"
    assert chair.is_calibrated
    assert chair.sentence == "chair: 6 voxels in 2 pieces, score 0.75"


def test_what_is_not_there_says_what_is():
    _, table, lamp = summarize(ASKED, VoxelLabels(LABEL, SCORE, REASONS), COORDS, 0.05)
    assert (lamp.found, lamp.num_voxels, lamp.num_pieces) == (False, 0, 0)
    assert lamp.best_position_m is lamp.box_m is None
    assert (lamp.nearest, lamp.nearest_score, lamp.read_as) == ("wall", 0.12, "light")
    assert lamp.sentence == "no lamp; nearest: wall 0.12"
    assert not table.found  # one voxel where two are asked for
    assert table.sentence == "no table; nearest: table, but too small 0.50"
    doubtful = Reasons(REASONS.texts, REASONS.otherwise, ((0, 0.9), (1, 0.4), (4, 0.1)),
                       ("chair", "table", "light"), (0, 1, 2), (True,) * 3)
    table = summarize(ASKED, VoxelLabels(LABEL, SCORE, doubtful), COORDS, 0.05)[1]
    assert table.sentence == "no table; nearest: table, but too doubtful 0.40"


def test_a_prompt_that_says_the_same_as_an_earlier_one_has_its_answer():
    same = Reasons(REASONS.texts, REASONS.otherwise, REASONS.nearest,
                   ("chair", "chair", "light"), (0, 0, 2), (True,) * 3)
    chair, seat, lamp = summarize(ASKED, VoxelLabels(LABEL, SCORE, same), COORDS, 0.05)
    assert (seat.prompt, seat.label, seat.num_voxels) == ("table", 1, chair.num_voxels)
    assert (chair.label, lamp.label) == (1, 3)


def test_scattered_voxels_are_no_thing():
    coords = 3 * torch.arange(30).view(10, 3)
    labels = VoxelLabels(torch.ones(10, dtype=torch.int64), torch.full((10,), 0.9))
    one = summarize(TextQuery(("chair",), (), 0.0, 2), labels, coords, 0.05)[0]
    assert (one.found, one.num_voxels, one.num_pieces) == (False, 10, 10)
    assert (one.otherwise, one.nearest, one.is_calibrated) == ("", "", False)
    assert one.sentence == "no chair"


def test_positions_keep_centimetres_far_from_the_origin():
    coords = torch.tensor([[500_001, -500_000, 7]])
    labels = VoxelLabels(torch.tensor([1]), torch.tensor([0.9]))
    one = summarize(TextQuery(("chair",)), labels, coords, 0.05)[0]
    assert one.best_position_m == pytest.approx((25000.075, -24999.975, 0.375), abs=1e-9)
