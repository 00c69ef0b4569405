"""What a purification leaves: pooled features in few directions, which answer any text.

Rows are of length one, so that a cosine is one product: a query pools nothing (METHODS 1.9).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.config import PurifyConfig
from geopurify_ros.core.mapping.edits import GrowingRows
from geopurify_ros.core.mapping.map_records import Removal
from geopurify_ros.core.purification.affinity import Affinity
from geopurify_ros.core.purification.basis import FeatureBasis
from geopurify_ros.core.purification.gate import Effect, Judged, objection
from geopurify_ros.core.reports import PurifyReport

_ROWS_AT_ONCE = 1024  # that are read together: fastest on one AVX2 thread


@dataclass(frozen=True)
class Frozen:
    """What all embeddings of a map refer to, until its next full pass (METHODS 6.2).

    Attributes:
        up: (3,) float64 unit, away from the floor.
        floor_m: height of the floor along it; None: nobody asks for heights.
    """

    up: Tensor
    floor_m: float | None


@dataclass(frozen=True)
class Patch:
    """What a pass over a part of a map found; each list of rows (R,) is ascending, int64.

    Attributes:
        version: of the map that was looked at, whose `num_rows` rows are purified now.
        num_rows: see there.
        embedded: rows with a new embedding, and learnt (R, E) float16.
        weighed: rows with new neighbours or weights, their affinity and its entropies (R,).
        pooled: rows with new features, values (R, r) and lengths (R,).
        judged: rows and judgements (R,); None: the encoder names no vocabulary.
    """

    version: int
    num_rows: int
    embedded: tuple[Tensor, Tensor]
    weighed: tuple[Tensor, Affinity, Tensor]
    pooled: tuple[Tensor, Tensor, Tensor]
    judged: tuple[Tensor, Judged] | None

    def __len__(self) -> int:
        """Voxels with new features."""
        return len(self.pooled[0])


class Purified:
    """The purified features of the V0 voxels that a map had; its later ones are not in it."""

    basis: FeatureBasis  # what the rows are in
    frozen: Frozen  # what the embeddings refer to
    version: int  # of the map
    misfit: float  # share of the energy of the features outside the basis of before
    entropy: float  # of the affinity, see affinity.row_entropies
    effect: Effect | None  # on the best names of the encoder's vocabulary; None: it has none
    objection: str  # why purified labels should not be used, by that effect; empty: they should
    gone: list[Tensor]  # (M, 3) int64 voxels each that were removed since

    def __init__(
        self,
        basis: FeatureBasis,
        values: Tensor,  # (V0, r) float16, of length one
        lengths: Tensor,  # (V0,) of the features before they were made of length one
        affinity: Affinity,  # that they were pooled with
        entropies: Tensor,  # (V0,) of its rows
        learnt: Tensor | None,  # (V0, E) float16 of the student; None: embeddings were given
        frozen: Frozen,
        version: int = 0,
        misfit: float = 0.0,
        judged: Judged | None = None,
    ) -> None:
        """Of a full pass."""
        self.basis, self.frozen, self.version, self.misfit = basis, frozen, version, misfit
        self._values, self._lengths = GrowingRows(values), GrowingRows(lengths)
        self._index, self._weight = GrowingRows(affinity.index), GrowingRows(affinity.weight)
        self._entropies = GrowingRows(entropies)
        self._learnt = None if learnt is None else GrowingRows(learnt)
        self._best = None if judged is None else GrowingRows(judged.best)
        self._ragged = None if judged is None else GrowingRows(judged.ragged)
        self._changed_at = GrowingRows(torch.zeros(
            len(values), dtype=torch.int32, device=values.device
        ))
        self._num_changes = 0
        self.gone, self.objection = [], ""
        self._sum_up()

    def __len__(self) -> int:
        """Number of voxels V0."""
        return len(self.values)

    @property
    def values(self) -> Tensor:
        """(V0, r) float16, of length one."""
        return self._values.rows

    @property
    def lengths(self) -> Tensor:
        """(V0,) float32, of the features before they were made of length one."""
        return self._lengths.rows

    @property
    def affinity(self) -> Affinity:
        """That they were pooled with."""
        return Affinity(self._index.rows, self._weight.rows)

    @property
    def learnt(self) -> Tensor | None:
        """(V0, E) float16, what the student made; None: embeddings were given from outside."""
        return None if self._learnt is None else self._learnt.rows

    @property
    def changed_at(self) -> Tensor:
        """(V0,) int32, number of the change of this object that a row's values are from."""
        return self._changed_at.rows

    @property
    def judged(self) -> Judged | None:
        """What the gate looks at; None: the encoder has no vocabulary, see `Answer`."""
        if self._best is None or self._ragged is None:
            return None
        return Judged(self._best.rows, self._ragged.rows)

    @property
    def num_bytes(self) -> int:
        """Memory of the features; the affinity apart."""
        return sum(t.numel() * t.element_size() for t in (self.values, self.lengths))

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Some rows (R, r) float32 at a time."""
        for start in range(0, len(self), _ROWS_AT_ONCE):
            rows = slice(start, min(start + _ROWS_AT_ONCE, len(self)))
            yield rows, self.values[rows].to(torch.float32)

    def features(self, rows: slice) -> Tensor:  # (R, D) float32
        """Purified features in the space of the encoder, of the length that pooling gave them."""
        return self.basis.expanded(self.values[rows]) * self.lengths[rows, None]

    def judge(self, settings: PurifyConfig) -> None:
        """Whether purified labels should be used at all."""
        self.objection = "" if self.effect is None else objection(self.effect, settings)

    def take(self, patch: Patch) -> None:
        """Follow the map up to the version that a pass looked at."""
        count = patch.num_rows
        rows, learnt = patch.embedded
        if self._learnt is not None:
            self._learnt.put(rows, learnt, count)
        rows, affinity, entropies = patch.weighed
        self._index.put(rows, affinity.index, count)
        self._weight.put(rows, affinity.weight, count)
        self._entropies.put(rows, entropies, count)
        rows, values, lengths = patch.pooled
        self._values.put(rows, values, count)
        self._lengths.put(rows, lengths, count)
        self._note_change(rows, count)
        if patch.judged is not None and self._best is not None and self._ragged is not None:
            rows, judged = patch.judged
            self._best.put(rows, judged.best, count)
            self._ragged.put(rows, judged.ragged, count)
        self.version, self.gone = patch.version, []
        self._sum_up()

    def follow(self, removal: Removal, features: Tensor) -> None:
        """Voxels were removed and the last ones took their rows.

        What was not purified yet and comes to lie among the purified rows keeps its raw feature
        until the next pass; neighbours that are gone are looked for anew by that pass.

        Args:
            removal: from the map.
            features: (S, D) float32 of the voxels that moved.
        """
        count = min(len(self), removal.num_rows)
        inside = removal.targets < count
        sources, targets = removal.sources[inside], removal.targets[inside]
        is_new = sources >= len(self)
        taken = torch.where(is_new, targets, sources)
        for held in self._all():
            held.put(targets, held.rows[taken], count)
        rows = targets[is_new]
        kept = features[inside][is_new].to(torch.float32) @ self.basis.vectors
        self._values.put(rows, normalize(kept, dim=1), count)
        self._lengths.put(rows, kept.norm(dim=1), count)
        self._index.put(*renumbered(self.affinity.index, removal, count), count)
        self._note_change(targets, count)
        self.gone.append(removal.coords)
        self._sum_up()

    def _note_change(self, rows: Tensor, count: int) -> None:
        self._num_changes += 1
        self._changed_at.put(rows, torch.full_like(rows, self._num_changes), count)

    def _all(self) -> list[GrowingRows]:
        held = [self._values, self._lengths, self._index, self._weight, self._entropies]
        return held + [one for one in (self._learnt, self._best, self._ragged) if one is not None]

    def _sum_up(self) -> None:
        entropies = self._entropies.rows
        self.entropy = float(entropies.mean()) if len(entropies) else 0.0
        self.effect = None if self.judged is None else self.judged.effect(self.entropy)


def renumbered(
    index: Tensor,  # (V0, K) int32
    removal: Removal,
    count: int,  # rows that are left of V0
) -> tuple[Tensor, Tensor]:  # (M,) int64, (M, K) int32
    """Rows of an affinity whose neighbours moved, and their new numbers.

    A voxel that is gone is replaced by whoever follows; the next pass finds its neighbours anew.
    """
    rows = torch.nonzero((index >= count).any(dim=1)).squeeze(1)
    number = torch.arange(
        int(removal.num_rows + len(removal.coords)), dtype=torch.int32, device=index.device
    )
    number[removal.sources] = removal.targets.to(torch.int32)
    moved = number[index[rows].to(torch.int64)]
    return rows, torch.where(moved < count, moved, rows[:, None].to(torch.int32))


def followed(
    held: Purified | None, made: Purified | Patch | None, settings: PurifyConfig
) -> Purified | None:
    """What a map is answered with after a pass: all anew, or `held` with a part anew."""
    if isinstance(made, Patch):
        if held is not None:
            held.take(made)
    elif made is not None:
        held = made
    if held is not None:
        held.judge(settings)
    return held


def told(
    held: Purified | None, made: Purified | Patch | None, number: int, num_voxels: int, news: str
) -> PurifyReport:
    """What is to be said of that."""
    if held is None:
        return PurifyReport(number, num_voxels, 0.0)
    updated = 0 if made is None else len(made)
    return PurifyReport(number, len(held), held.entropy, held.basis.rank, news, updated)
