"""The few directions that features use: pooled once in them, a map answers any text.

Features of an image-text encoder lie close to a subspace: of builtin's 256 directions half carry
all that labels depend on. The basis belongs to the encoder and stays the same for the life of a
map, so that parts of a map can be pooled again later and fit the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.errors import InputError, expect_shape

ENCODER, MAP, ALL = "of the encoder", "of this map", "all directions"  # where a basis comes from
FEWEST_VOXELS = 1000  # fewer say too little of what is to come
MOST_SAMPLED = 20_000  # voxels; their second moment is as good as that of all
# Share of the energy that a derived basis leaves out: builtin's own basis leaves out as much of
# the features of rooms it never saw, and keeps 99.5 % of the labels (docs/log).
_LEFT_OUT = 0.002
_FEWEST_DIRECTIONS = 64  # fewer save little, and what is rare in a map may hang on the last ones
_WORTH_IT = 0.75  # of all directions: beyond that leaving some out saves too little
# Share of the energy outside a basis from which on it does not fit the features any more.
_MISFIT = 0.005
_SKEW = 1e-4  # of rounding


@dataclass(frozen=True)
class FeatureBasis:
    """Directions that features are kept in.

    Attributes:
        vectors: (D, r) float32, orthonormal columns.
        origin: ENCODER, MAP or ALL.
    """

    vectors: Tensor
    origin: str

    @property
    def rank(self) -> int:
        """Kept numbers of a feature, r."""
        return self.vectors.shape[1]

    def expanded(self, kept: Tensor) -> Tensor:  # (N, r) -> (N, D) float32
        """Features of what was kept of them."""
        values = kept.to(torch.float32)
        return values if self.origin == ALL else values @ self.vectors.T

    def misfit(self, moment: Tensor) -> float:
        """Share of the energy of features, given by their second moment (D, D), outside."""
        vectors = self.vectors.to(moment)
        total = float(moment.trace())
        inside = float((vectors * (moment @ vectors)).sum())
        return max(0.0, 1.0 - inside / total) if total > 0 else 0.0


def whole(feature_dim: int, device: torch.device) -> FeatureBasis:
    """All D directions: nothing is left out."""
    return FeatureBasis(torch.eye(feature_dim, device=device), ALL)


def checked(vectors: Tensor, feature_dim: int) -> Tensor:  # (D, r) float32
    """Vectors that come from outside, as a basis.

    Raises:
        InputError: another shape than (feature_dim, r), or columns that are not orthonormal.
    """
    expect_shape(vectors, (feature_dim, None), "the basis of the features")
    vectors = vectors.to(torch.float32).contiguous()  # products round by how it lies
    off = vectors.T @ vectors - torch.eye(vectors.shape[1], device=vectors.device)
    if not (vectors.numel() and bool(off.abs().max() < _SKEW)):  # false for NaN too
        raise InputError("the basis of the features is damaged: it is not orthonormal")
    return vectors


def second_moment(
    chunks: Iterable[Tensor],  # (R, D) each
    feature_dim: int,
    device: torch.device,
) -> Tensor:  # (D, D) float64
    """Mean of x x^T over features of length one."""
    total = torch.zeros((feature_dim, feature_dim), dtype=torch.float64, device=device)
    count = 0
    for chunk in chunks:
        unit = normalize(chunk.to(torch.float32), dim=1)
        total += (unit.T @ unit).to(torch.float64)
        count += len(unit)
    return total / max(1, count)


def directions(moment: Tensor) -> tuple[Tensor, Tensor]:  # (D, D) -> (D, D) float32, (D,)
    """All directions by falling energy, and the share of the energy of each."""
    energy, vectors = torch.linalg.eigh(moment)
    energy = energy.flip(0).clamp_min(0.0)
    return vectors.flip(1).to(torch.float32).contiguous(), energy / energy.sum().clamp_min(1e-30)


def derived(moment: Tensor) -> FeatureBasis:
    """The smallest basis that leaves out next to nothing of features with this second moment."""
    vectors, energy = directions(moment)
    enough = torch.cumsum(energy, dim=0) < 1.0 - _LEFT_OUT
    rank = max(int(enough.sum()) + 1, _FEWEST_DIRECTIONS)
    if rank > _WORTH_IT * len(energy):
        return whole(len(energy), vectors.device)
    return FeatureBasis(vectors[:, :rank].contiguous(), MAP)


def basis_for(
    chunks: tuple[Tensor, ...],  # (R, D) each, V rows together
    feature_dim: int,
    device: torch.device,
    frozen: FeatureBasis | None,
) -> tuple[FeatureBasis, float]:
    """The basis to pool a map in, and the misfit of `frozen`, its basis so far.

    A basis stays while it fits. Without one, a map of a thousand voxels gets its own; before
    that all directions are kept.
    """
    count = sum(len(chunk) for chunk in chunks)
    if count < FEWEST_VOXELS:
        return frozen or whole(feature_dim, device), 0.0
    if frozen is not None and frozen.origin == ALL:
        return frozen, 0.0
    step = -(-count // MOST_SAMPLED)
    moment = second_moment((chunk[::step] for chunk in chunks), feature_dim, device)
    misfit = 0.0 if frozen is None else frozen.misfit(moment)
    if frozen is not None and misfit <= _MISFIT:
        return frozen, misfit
    return derived(moment), misfit
