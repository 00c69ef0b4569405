"""Whether scores are probabilities (Guo et al. 2017, expected calibration error)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_NUM_BINS = 10
_LEAST_SCORE = 0.1  # below, nobody looks


def expected_calibration_error(
    scores: Sequence[Tensor],  # of any lengths, 0..1
    hits: Sequence[Tensor],  # the same lengths, bool
) -> tuple[float, list[tuple[float, float, int]]]:
    """Mean distance of score and share of hits over ten bins, and the reliability diagram.

    Scores of .1 and less are left out. The diagram has (mean score, share of hits, count) of each
    bin that is not empty; NaN and no row where no score is left.
    """
    score, hit = torch.cat(list(scores)).double(), torch.cat(list(hits)).double()
    is_in = score > _LEAST_SCORE
    score, hit = score[is_in], hit[is_in]
    if not len(score):
        return float("nan"), []
    number = (score * _NUM_BINS).long().clamp_max(_NUM_BINS - 1)
    diagram = [
        (float(score[number == k].mean()), float(hit[number == k].mean()),
         int((number == k).sum()))
        for k in range(_NUM_BINS) if bool((number == k).any())
    ]  # fmt: skip
    apart = sum(count * abs(mean - share) for mean, share, count in diagram)
    return apart / len(score), diagram
