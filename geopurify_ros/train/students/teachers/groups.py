"""Groups of codes across scenes that a network finds by itself (Caron et al., SwAV, NeurIPS 2020).

To tell each voxel's code from all others also tells one chair from the next. Groups are the
counterweight: a few hundred directions, learnt along, and every voxel must be put into the group
that the moving average puts it into. That all groups take equal shares of the voxels is what keeps
them from becoming one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, normalize

_SHARPNESS = 20.0  # of the shares: 1 / 0.05
_TEMPERATURE = 0.1
_ROUNDS = 3


def equal_shares(codes: Tensor, groups: Tensor) -> Tensor:  # (N, C) unit, (G, C) -> (N, G)
    """Which groups each code belongs to, rows of sum 1, all groups about equally large.

    Three rounds of Sinkhorn and Knopp; no gradient.
    """
    with torch.no_grad():
        likeness = codes @ normalize(groups, dim=1).T
        shares = ((likeness - likeness.max()) * _SHARPNESS).exp()
        for _ in range(_ROUNDS):
            shares = shares / shares.sum(dim=0).clamp_min(1e-30)
            shares = shares / shares.sum(dim=1, keepdim=True).clamp_min(1e-30)
    return shares


def group_loss(codes: Tensor, groups: Tensor, shares: Tensor) -> Tensor:
    """Cross entropy of what the codes (N, C) say of their groups and their `shares` (N, G)."""
    logits = codes @ normalize(groups, dim=1).T / _TEMPERATURE
    return -(shares * log_softmax(logits, dim=1)).sum(dim=1).mean()
