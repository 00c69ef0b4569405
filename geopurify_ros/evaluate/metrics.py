"""Segmentation scores from confusion matrices (METHODS 1.11, T1.11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BACKGROUND_CLASSES = frozenset({"wall", "floor", "ceiling"})


def renumbered(label: NDArray[np.int64], class_ids: Sequence[int]) -> NDArray[np.int64]:
    """1 .. C in the order of `class_ids`; 0, unlabelled, for every other number."""
    ids = np.array(class_ids, dtype=np.int64)
    if len(ids) == 0:
        return np.zeros(label.shape, dtype=np.int64)
    order = np.argsort(ids)
    place = np.searchsorted(ids[order], label).clip(max=len(ids) - 1)
    found: NDArray[np.int64] = np.where(ids[order][place] == label, order[place] + 1, 0)
    return found


def confusion_matrix(
    predicted: Tensor,  # (N,) int64, 0 = no answer, 1 .. C
    truth: Tensor,  # (N,) int64, 0 = ignored, 1 .. C
    num_classes: int,
) -> Tensor:  # (C + 1, C + 1) int64, [truth, predicted]
    """Counts; row 0 stays empty because voxels without truth do not count.

    Matrices of parts of the data add up to that of the whole.
    """
    known = truth > 0
    size = num_classes + 1
    pairs = truth[known] * size + predicted[known]
    return torch.bincount(pairs, minlength=size * size).reshape(size, size)


@dataclass(frozen=True)
class ClassScores:
    """IoU and accuracy of the classes present in the truth, by name."""

    iou: dict[str, float]
    accuracy: dict[str, float]

    @property
    def miou(self) -> float:
        """Mean IoU over the classes present."""
        return mean_of(list(self.iou.values()))

    @property
    def macc(self) -> float:
        """Mean accuracy over the classes present."""
        return mean_of(list(self.accuracy.values()))

    def foreground(self) -> ClassScores:
        """The same without wall, floor and ceiling."""
        return ClassScores(
            {n: v for n, v in self.iou.items() if n not in BACKGROUND_CLASSES},
            {n: v for n, v in self.accuracy.items() if n not in BACKGROUND_CLASSES},
        )


def class_scores(
    confusion: Tensor,  # (C + 1, C + 1), see confusion_matrix
    names: tuple[str, ...],  # C
) -> ClassScores:
    """IoU = hit / (truth + predicted - hit), accuracy = hit / truth, where truth > 0."""
    hit = confusion.diagonal().to(torch.float64)
    truth = confusion.sum(dim=1).to(torch.float64)
    union = truth + confusion.sum(dim=0).to(torch.float64) - hit
    present = [i for i in range(1, len(names) + 1) if truth[i] > 0]
    return ClassScores(
        {names[i - 1]: float(hit[i] / union[i]) for i in present},
        {names[i - 1]: float(hit[i] / truth[i]) for i in present},
    )


def boundary_band(
    truth: Tensor,  # (N,) int64, 0 = unlabelled
    neighbor_index: Tensor,  # (N, K) int64
    neighbor_mask: Tensor,  # (N, K) bool
) -> Tensor:  # (N,) bool
    """Labelled voxels with another label among their neighbours (METHODS 1.14: 24 nearest)."""
    other = truth[neighbor_index]
    differs = (other != truth[:, None]) & (other > 0) & neighbor_mask
    return differs.any(dim=1) & (truth > 0)


def mean_of(values: Sequence[float]) -> float:
    """Mean of the values that are numbers; NaN where none is."""
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")
