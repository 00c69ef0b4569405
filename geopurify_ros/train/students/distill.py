"""Contrastive distillation as pure functions (GeoPurify, METHODS 1.5 and 1.13 B7-B11).

The teacher of a scene never changes, so who may be a positive or a negative of each voxel is found
once per scene, in chunks, and kept as a table of candidates; a training step draws anchors and
looks them up. In paper mode the table holds exactly the paper's choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from geopurify_ros.core.mapping.block_index import relative_key
from geopurify_ros.core.purification.neighbors import NeighborGraph
from geopurify_ros.errors import InputError, expect_shape

_CHUNK = 64  # anchors compared with the whole piece at a time: 4 MB for 16,000 voxels


@dataclass(frozen=True)
class PairRules:
    """How positives and negatives are chosen; the defaults are the paper's.

    Attributes:
        anchors: voxels per step; at most a third of the scene.
        macro: negatives from the whole scene.
        micro: negatives among the spatial neighbours.
        near: how many spatial neighbours.
        temperature: tau of the loss.
        improved: B8: half of the positives from other cells; B9: macro negatives at random from
            the low tail; B10: micro negatives only where the teacher sees a margin; B11: no voxel
            twice among the negatives of an anchor.
        tail: share of the scene that is the low tail (B9).
        margin: a micro negative is less similar than the positive by this (B10).
        cell_voxels: edge of the cells of B8.
        top: share of the scene that may be a positive of another cell (B8).
        pool: candidates kept per voxel for what is drawn at random.
    """

    anchors: int = 4096
    macro: int = 48
    micro: int = 15
    near: int = 96
    temperature: float = 0.07
    improved: bool = False
    tail: float = 0.2
    margin: float = 0.1
    cell_voxels: int = 4
    top: float = 0.02
    pool: int = 128


PAPER_RULES = PairRules()
IMPROVED_RULES = PairRules(improved=True)


@dataclass(frozen=True)
class PairTable:
    """Candidates of R voxels that may be anchors.

    Attributes:
        anchor: (R,) int64.
        positive: (R,) int64, the most similar voxel.
        other_cell: (R, P) int32, similar voxels outside the voxel's cell; -1 where there is none.
            P = 0 in paper mode.
        macro: (R, M) int32, dissimilar voxels; M = `rules.macro` in paper mode.
        micro: (R, m) int32, the least similar spatial neighbours; -1 where masked.
    """

    anchor: Tensor
    positive: Tensor
    other_cell: Tensor
    macro: Tensor
    micro: Tensor


@dataclass(frozen=True)
class Pairs:
    """A training sample: A anchors with one positive and Q negatives each.

    Attributes:
        anchor: (A,) int64.
        positive: (A,) int64.
        negative: (A, Q) int64; 0 where masked.
        mask: (A, Q) bool, true for real negatives.
    """

    anchor: Tensor
    positive: Tensor
    negative: Tensor
    mask: Tensor


def pair_table(
    teacher: Tensor,  # (V, T) unit norm
    coords: Tensor,  # (V, 3) int64
    near: NeighborGraph,  # V, `rules.near` neighbours
    anchor: Tensor,  # (R,) int64
    rules: PairRules,
    generator: torch.Generator,
    chunk: int = _CHUNK,
) -> PairTable:
    """Candidates of the voxels `anchor`; equal values go by row number.

    Raises:
        InputError: the scene has fewer voxels than an anchor needs.
    """
    expect_shape(teacher, (len(coords), None), "teacher features")
    if len(teacher) < rules.macro + 2:
        raise InputError(
            f"it has {len(teacher)} voxels, an anchor needs {rules.macro + 2} or more"
        )
    parts: list[tuple[Tensor, ...]] = []
    for start in range(0, len(anchor), chunk):
        rows = anchor[start : start + chunk]
        similarity = teacher[rows] @ teacher.T
        similarity[torch.arange(len(rows)), rows] = -torch.inf
        best, positive = _highest(similarity)
        if rules.improved:
            macro = _from_tail(similarity, rows, positive, rules, generator)
            other = _other_cell(similarity, rows, coords, rules, generator)
        else:
            macro = _lowest_of_scene(similarity, rows, positive, rules.macro)
            other = macro[:, :0]
        micro = _lowest_of_neighbors(similarity, best, positive, near, rows, rules)
        parts.append((positive, other.to(torch.int32), macro.to(torch.int32),
                      micro.to(torch.int32)))
    return PairTable(anchor, *(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _highest(similarity: Tensor) -> tuple[Tensor, Tensor]:
    """Best value and the first column that has it."""
    best = similarity.amax(dim=1)
    return best, (similarity == best[:, None]).to(torch.uint8).argmax(dim=1)


def _lowest_of_scene(similarity: Tensor, rows: Tensor, positive: Tensor, count: int) -> Tensor:
    """(R, count) columns of the lowest values, the anchor and its positive left out."""
    masked = similarity.clone()
    here = torch.arange(len(rows), device=rows.device)
    masked[here, rows] = torch.inf
    masked[here, positive] = torch.inf
    # at the last value equal ones may be more than wanted: the lowest row numbers are taken
    last = masked.kthvalue(count, dim=1, keepdim=True).values
    below = masked < last
    missing = count - below.sum(dim=1, keepdim=True)
    equal = masked == last
    taken = below | (equal & (torch.cumsum(equal, dim=1, dtype=torch.int32) <= missing))
    columns = taken.nonzero()[:, 1].view(len(rows), count)
    order = torch.argsort(masked.gather(1, columns), dim=1, stable=True)
    return columns.gather(1, order)


def _from_tail(
    similarity: Tensor, rows: Tensor, positive: Tensor, rules: PairRules,
    generator: torch.Generator,
) -> Tensor:
    """(R, pool) columns drawn from the least similar `tail` of the scene."""
    num_voxels = similarity.shape[1]
    wanted = min(rules.pool, num_voxels - 2)
    size = min(num_voxels - 2, max(wanted, int(rules.tail * num_voxels)))
    masked = similarity.clone()
    here = torch.arange(len(rows), device=rows.device)
    masked[here, rows] = torch.inf
    masked[here, positive] = torch.inf
    threshold = masked.kthvalue(size, dim=1, keepdim=True).values
    # a random key per column, the same for all rows of a chunk, picks among those below
    key = torch.rand(num_voxels, generator=generator).to(similarity.device)
    lottery = torch.where(masked <= threshold, key, 2.0)
    return lottery.topk(wanted, dim=1, largest=False).indices


def _other_cell(
    similarity: Tensor, rows: Tensor, coords: Tensor, rules: PairRules,
    generator: torch.Generator,
) -> Tensor:
    """(R, 8) columns drawn from the most similar `top` of the scene outside the own cell."""
    num_voxels = similarity.shape[1]
    cell = relative_key(torch.div(coords, rules.cell_voxels, rounding_mode="floor"))
    same = cell[rows][:, None] == cell
    outside = similarity.masked_fill(same, -torch.inf)
    wanted = min(8, num_voxels)
    size = min(num_voxels, max(wanted, int(rules.top * num_voxels)))
    threshold = outside.topk(size, dim=1).values[:, -1:]
    key = torch.rand(num_voxels, generator=generator).to(similarity.device)
    lottery = torch.where((outside >= threshold) & ~same, key, 2.0)
    drawn, columns = lottery.topk(wanted, dim=1, largest=False)
    return torch.where(drawn < 1.5, columns, -1)


def _lowest_of_neighbors(
    similarity: Tensor, best: Tensor, positive: Tensor, near: NeighborGraph, rows: Tensor,
    rules: PairRules,
) -> Tensor:
    """(R, micro) spatial neighbours of the lowest values, -1 where masked."""
    columns = near.index[rows]
    values = similarity.gather(1, columns)
    left_out = ~near.mask[rows] | (columns == positive[:, None])
    if rules.improved:
        left_out |= values > best[:, None] - rules.margin
    values = values.masked_fill(left_out, torch.inf)
    by_column = torch.argsort(columns, dim=1)  # equal values go by row number
    values, columns = values.gather(1, by_column), columns.gather(1, by_column)
    order = torch.argsort(values, dim=1, stable=True)[:, : rules.micro]
    values, columns = values.gather(1, order), columns.gather(1, order)
    return torch.where(torch.isfinite(values), columns, -1)


def draw_pairs(
    table: PairTable, num_voxels: int, rules: PairRules, generator: torch.Generator
) -> Pairs:
    """Random anchors, at most a third of the V voxels, with their positives and negatives."""
    count = min(rules.anchors, max(1, num_voxels // 3))
    lines = torch.randperm(len(table.anchor), generator=generator)[:count]
    return pairs_of(table, lines.to(table.anchor.device), rules, generator)


def pairs_of(
    table: PairTable, lines: Tensor, rules: PairRules, generator: torch.Generator
) -> Pairs:
    """The positives and negatives of the anchors in given lines (A,) of the table."""
    positive, macro = table.positive[lines], table.macro[lines].to(torch.int64)
    if rules.improved:
        columns = torch.randperm(macro.shape[1], generator=generator)[: rules.macro]
        macro = macro[:, columns.to(macro.device)]
        positive = _half_from_other_cells(table.other_cell[lines], positive, generator)
    negative = torch.cat((macro, table.micro[lines].to(torch.int64)), dim=1)
    mask = negative >= 0
    if rules.improved:
        mask &= ~_repeated(negative) & (negative != positive[:, None])
    return Pairs(table.anchor[lines], positive, negative.clamp_min(0), mask)


def _half_from_other_cells(
    others: Tensor, positive: Tensor, generator: torch.Generator
) -> Tensor:
    pick = torch.randint(others.shape[1], (len(others), 1), generator=generator)
    other = others.gather(1, pick.to(others.device))[:, 0].to(torch.int64)
    half = torch.rand(len(others), generator=generator).to(others.device) < 0.5
    return torch.where(half & (other >= 0), other, positive)


def _repeated(rows: Tensor) -> Tensor:  # (A, Q) -> (A, Q) bool
    """True for every occurrence of a value in a line but one."""
    ordered, order = torch.sort(rows, dim=1, stable=True)
    again = torch.zeros_like(rows, dtype=torch.bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return torch.zeros_like(again).scatter(1, order, again)


def info_nce(
    embeddings: Tensor,  # (V, E) unit norm
    pairs: Pairs,
    temperature: float,
) -> Tensor:  # (A,)
    """-log of the positive's share among itself and the negatives, per anchor."""
    anchor = embeddings.index_select(0, pairs.anchor)
    positive = embeddings.index_select(0, pairs.positive)
    negative = embeddings.index_select(0, pairs.negative.reshape(-1))
    negative = negative.view(*pairs.negative.shape, -1)
    of_positive = (anchor * positive).sum(dim=1, keepdim=True)
    of_negative = torch.einsum("ae,aqe->aq", anchor, negative)
    of_negative = of_negative.masked_fill(~pairs.mask, -torch.inf)
    logits = torch.cat((of_positive, of_negative), dim=1) / temperature
    target = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    return cross_entropy(logits, target, reduction="none")
