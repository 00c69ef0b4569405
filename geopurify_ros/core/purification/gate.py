"""What purification did to the labels, and when it had better not (METHODS 5.1).

Purification can hurt: an embedding that tells nothing apart only blurs, one whose rows copy a
single neighbour does nothing. Neither needs ground truth to be seen.

What is compared is the best text of each voxel, prompt or negative, whether or not it reaches the
threshold: labels that are nearly all "not there" are smooth without being right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.config import PurifyConfig
from geopurify_ros.core.purification.affinity import Affinity

_TOUCHING = 6  # neighbours that are looked at: the nearest


@dataclass(frozen=True)
class Effect:
    """One purified answer beside the raw one; shares of 1.

    Attributes:
        entropy: of the rows of the affinity, 1 is a blur; see affinity.row_entropies.
        changed: voxels whose best text changed.
        boundary_before: pairs of touching voxels whose best texts differ, raw.
        boundary_after: the same purified.
    """

    entropy: float
    changed: float
    boundary_before: float
    boundary_after: float


@dataclass(frozen=True)
class Judged:
    """What the gate looks at, voxel by voxel.

    Attributes:
        best: (V, 2) int16, the best text, raw and purified.
        ragged: (V, 2) uint8, how many of the nearest neighbours have another one.
    """

    best: Tensor
    ragged: Tensor

    def effect(self, entropy: float) -> Effect:
        """All of it in five numbers."""
        if len(self.best) == 0:
            return Effect(entropy, 0.0, 0.0, 0.0)
        changed = float((self.best[:, 0] != self.best[:, 1]).to(torch.float32).mean())
        before, after = (self.ragged.to(torch.float32).mean(dim=0) / _TOUCHING).tolist()
        return Effect(entropy, changed, before, after)


def best_texts(
    chunks: Iterable[Tensor],  # (R, C) each, V rows together
    texts: Tensor,  # (L, C)
) -> Tensor:  # (V,) int64
    """The best text of each voxel; the length of a feature does not matter."""
    best = [(chunk.to(torch.float32) @ texts.T).argmax(dim=1) for chunk in chunks]
    return torch.cat(best)


def judged(best: Tensor, index: Tensor) -> Judged:  # (V, 2), (V, K)
    """What best texts, raw and purified, mean for touching voxels."""
    near = index[:, :_TOUCHING].to(torch.int64)
    columns = [
        (labels[near] != labels[: len(index), None]).sum(dim=1) for labels in best.unbind(dim=1)
    ]
    scale = _TOUCHING / max(1, near.shape[1])  # fewer where K is smaller
    ragged = (torch.stack(columns, dim=1) * scale).round().to(torch.uint8)
    return Judged(best.to(torch.int16), ragged)


def effect_of(raw: Tensor, purified: Tensor, affinity: Affinity, entropy: float) -> Effect:
    """Compare best texts (V,) before and after pooling; V may exceed the affinity's rows."""
    if len(raw) == 0:
        return Effect(entropy, 0.0, 0.0, 0.0)
    changed = float((raw != purified).to(torch.float32).mean())
    before, after = (boundary_share(labels, affinity) for labels in (raw, purified))
    return Effect(entropy, changed, before, after)


def boundary_share(labels: Tensor, affinity: Affinity) -> float:
    """Share of touching pairs with two labels."""
    if len(affinity) == 0:
        return 0.0
    near = affinity.index[:, :_TOUCHING].to(torch.int64)
    differs = labels[near] != labels[: len(affinity), None]
    return float(differs.to(torch.float32).mean())


def objection(effect: Effect, settings: PurifyConfig) -> str:
    """Why the purified labels should not be used, in one sentence; empty if they should."""
    if effect.entropy > settings.max_entropy:
        return (
            f"the embedding tells no neighbours apart (row entropy {effect.entropy:.4f}): "
            "the result would be a blur"
        )
    if effect.changed > settings.max_changed:
        return f"{effect.changed:.0%} of the labels would change"
    if effect.boundary_after > effect.boundary_before:
        return "the labels would become more ragged, not less"
    return ""
