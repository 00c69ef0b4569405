"""T1.11: scores on a hand-made confusion matrix; majority truth; boundary band."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from geopurify_ros.config import DepthConfig
from geopurify_ros.core.mapping.block_index import BlockIndex
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.evaluate.metrics import (
    boundary_band,
    class_scores,
    confusion_matrix,
    renumbered,
)
from geopurify_ros.evaluate.runner import VoxelTruth, scores

NAMES = ("chair", "table", "wall", "lamp")
#                    ignored            chair: 2 of 4 hit  table: 1 of 2  wall: 3 of 3
TRUTH = torch.tensor([0, 0, 0, 0,       1, 1, 1, 1,        2, 2,          3, 3, 3])
PREDICTED = torch.tensor([0, 1, 2, 4,   1, 1, 2, 0,        2, 4,          3, 3, 3])


def test_t1_11_confusion_matrix_by_hand():
    assert confusion_matrix(PREDICTED, TRUTH, 4).tolist() == [
        [0, 0, 0, 0, 0],  # without truth: not counted
        [1, 2, 1, 0, 0],
        [0, 0, 1, 0, 1],
        [0, 0, 0, 3, 0],
        [0, 0, 0, 0, 0],
    ]


def test_t1_11_scores_by_hand():
    result = class_scores(confusion_matrix(PREDICTED, TRUTH, 4), NAMES)
    # IoU: chair 2 / (4 + 2 - 2), table 1 / (2 + 2 - 1), wall 3 / 3; no lamp in the truth
    assert result.iou == pytest.approx({"chair": 2 / 4, "table": 1 / 3, "wall": 1.0})
    assert result.accuracy == pytest.approx({"chair": 2 / 4, "table": 1 / 2, "wall": 1.0})
    assert result.miou == pytest.approx((1 / 2 + 1 / 3 + 1) / 3)
    assert result.macc == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)


def test_t1_11_foreground_leaves_out_wall_floor_and_ceiling():
    result = class_scores(confusion_matrix(PREDICTED, TRUTH, 4), NAMES).foreground()
    assert result.iou.keys() == result.accuracy.keys() == {"chair", "table"}
    assert result.miou == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_t1_11_ignored_labels_change_nothing():
    known = TRUTH > 0
    assert torch.equal(confusion_matrix(PREDICTED, TRUTH, 4),
                       confusion_matrix(PREDICTED[known], TRUTH[known], 4))


def test_t1_11_merged_halves_equal_the_whole():
    halves = [confusion_matrix(PREDICTED[part], TRUTH[part], 4)
              for part in (slice(0, 7), slice(7, None))]
    assert torch.equal(halves[0] + halves[1], confusion_matrix(PREDICTED, TRUTH, 4))


def test_t1_11_perfect_and_hopeless_predictions():
    assert class_scores(confusion_matrix(TRUTH, TRUTH, 4), NAMES).miou == 1.0
    nothing = class_scores(confusion_matrix(torch.zeros_like(TRUTH), TRUTH, 4), NAMES)
    assert (nothing.miou, nothing.macc) == (0.0, 0.0)


def test_without_truth_the_means_are_nan():
    nothing = class_scores(confusion_matrix(PREDICTED, torch.zeros_like(TRUTH), 4), NAMES)
    assert nothing.iou == {}
    assert math.isnan(nothing.miou)


def test_boundary_band_is_where_a_neighbor_has_another_label():
    """A line of voxels, each with its two neighbours: 1 1 1 2 2 0 3, unlabelled is no label."""
    truth = torch.tensor([1, 1, 1, 2, 2, 0, 3])
    index = torch.tensor([[max(i - 1, 0), min(i + 1, 6)] for i in range(7)])
    mask = torch.ones((7, 2), dtype=torch.bool)
    band = boundary_band(truth, index, mask)
    assert band.tolist() == [False, False, True, True, False, False, False]
    mask[2, 1] = False  # padding does not count
    assert not boundary_band(truth, index, mask)[2]


def test_the_table_of_a_run_scores_whole_and_band():
    band = torch.zeros(len(TRUTH), dtype=torch.bool)
    band[4:7] = True  # three chairs, two of them hit
    table = scores(PREDICTED, TRUTH, band, NAMES)
    assert table["miou"] == pytest.approx((1 / 2 + 1 / 3 + 1) / 3)
    assert table["f_macc"] == pytest.approx(1 / 2)
    assert table["boundary_miou"] == pytest.approx(2 / 3)
    assert table["per_class"].keys() == {"chair", "table", "wall"}


def frame_of_columns(depth_m):
    """Pixels of one image row at the given depths; x is within one voxel of 1 m each."""
    depth = np.array([depth_m], dtype=np.float32)
    rgb = np.zeros((1, len(depth_m), 3), dtype=np.uint8)
    intrinsics = np.array([[1000.0, 0, 0], [0, 1000.0, 0], [0, 0, 1]])
    return RgbdFrame(rgb, depth, intrinsics, np.eye(4), 0)


def test_truth_is_the_majority_label_of_the_pixels_of_a_voxel():
    config = DepthConfig(edge_min_m=10.0)
    index = BlockIndex(torch.device("cpu"))
    index.insert(torch.tensor([[0, 0, 1], [0, 0, 2], [0, 0, 3], [0, 0, 4]]))
    truth = VoxelTruth([5, 9])  # ids of classes.json: 5 -> 1, 9 -> 2, all others are nothing
    first = frame_of_columns([1.1, 1.2, 1.3, 2.1, 2.2, 3.5, 9.5])
    truth.add(index, first, np.array([[5, 9, 9, 0, 7, 5, 5]]), config, 1.0)
    truth.add(index, frame_of_columns([1.4, 1.5, 2.5]), np.array([[5, 5, 9]]), config, 1.0)
    # voxel 1: three 5 against two 9; voxel 2: one 9 among unlabelled; voxel 4: never seen
    assert truth.labels(4).tolist() == [1, 2, 1, 0]


def test_votes_of_many_instances_take_memory_as_there_are_votes():
    """Not 16 kB a voxel: 2048 numbers could be voted for, a few are."""
    index = BlockIndex(torch.device("cpu"))
    coords = torch.cartesian_prod(*[torch.arange(100)] * 3)
    index.insert(coords)
    truth = VoxelTruth(list(range(1, 2048)))
    generator = torch.Generator().manual_seed(0)
    votes = torch.randint(0, 40 * 2048, (5000,), generator=generator)
    truth._votes = [votes[:2000], votes[2000:]]
    with Largest() as largest:
        found = truth.labels(len(coords))
    assert largest.numel < 4 * len(coords)
    table = torch.bincount(votes, minlength=40 * 2048).reshape(40, 2048)[:, 1:]
    expected = torch.where(table.sum(dim=1) > 0, table.argmax(dim=1) + 1, 0)
    assert torch.equal(found[:40], expected)
    assert not found[40:].any()


class Largest(TorchDispatchMode):
    """Remembers the number of elements of the largest result."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple) else (made,):
            self.numel = max(self.numel, one.numel() if isinstance(one, torch.Tensor) else 0)
        return made


def test_numbers_that_are_no_class_are_unlabelled():
    label = np.array([[0, 5, 9, 7, 65535, 70000, -1, 10]])
    assert renumbered(label, [9, 5]).tolist() == [[0, 2, 1, 0, 0, 0, 0, 0]]
    assert renumbered(label, []).tolist() == [[0] * 8]
    index = BlockIndex(torch.device("cpu"))
    index.insert(torch.tensor([[0, 0, 1]]))
    truth = VoxelTruth([5])
    truth.add(index, frame_of_columns([1.1]), np.array([[70000]]), DepthConfig(), 1.0)
    assert truth.labels(1).tolist() == [0]


def test_frames_without_depth_have_no_vote():
    index = BlockIndex(torch.device("cpu"))
    index.insert(torch.tensor([[0, 0, 1]]))
    truth = VoxelTruth([5])
    truth.add(index, frame_of_columns([1.1]), np.array([[5]]), DepthConfig(), 1.0)
    truth.add(index, frame_of_columns([np.nan]), np.array([[5]]), DepthConfig(), 1.0)
    assert truth.labels(1).tolist() == [1]
