"""Affinity between neighbouring voxels (GeoPurify, METHODS 1.9): alike embeddings weigh more."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.purification.neighbors import NeighborGraph
from geopurify_ros.errors import expect_shape

_ROWS_AT_ONCE = 8192
_ENTROPIES_AT_ONCE = 65_536
with warnings.catch_warnings():
    # torch says once in a process that CSR is young; the one thing done with it here is tested
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)


@dataclass(frozen=True)
class Affinity:
    """A sparse row-stochastic matrix over V voxels, or R rows of it.

    Attributes:
        index: (V, K) int32 columns; -> row numbers of the neighbours.
        weight: (V, K) float, rows sum to 1; an isolated voxel has itself with weight 1.
    """

    index: Tensor
    weight: Tensor

    def __len__(self) -> int:
        """Number of voxels V."""
        return len(self.index)


def affinity_weights(
    embeddings: Tensor,  # (V, E) unit norm, of all voxels
    graph: NeighborGraph,  # of all voxels, or of `rows`
    scale: float,
    rows: Tensor | None = None,  # (R,) int64
) -> Affinity:  # V rows, or R: the i-th is that of voxel rows[i]
    """softmax over the neighbours of scale * e_i . e_j; scale 0 is a plain mean (blur).

    Half precision is read as float32, some rows at a time; the weights are float32 then.
    """
    count = len(graph.index)
    expect_shape(embeddings, (count if rows is None else None, None), "embeddings")
    half = embeddings.dtype in (torch.float16, torch.bfloat16)
    number = torch.float32 if half else embeddings.dtype
    weight = torch.empty(graph.index.shape, dtype=number, device=embeddings.device)
    for start in range(0, count, _ROWS_AT_ONCE):
        part = slice(start, min(start + _ROWS_AT_ONCE, count))
        own = rows[part] if rows is not None else torch.arange(
            part.start, part.stop, device=weight.device
        )
        columns = graph.index[part]
        if embeddings.dtype == number:
            similarity = _products(embeddings, own, columns)
        else:
            table, own, columns = _compact(embeddings, own, columns)
            similarity = _products(table.to(number), own, columns)
        similarity.mul_(scale).masked_fill_(~graph.mask[part], -torch.inf)
        torch.softmax(similarity, dim=1, out=weight[part])
    isolated = ~graph.mask[:, 0]
    weight[isolated] = 0.0  # softmax of nothing
    weight[isolated, 0] = 1.0  # the index holds the voxel itself there
    return Affinity(graph.index.to(torch.int32), weight)


def _products(table: Tensor, own: Tensor, columns: Tensor) -> Tensor:
    """table[own[i]] . table[columns[i, k]]: (N, E), (R,), (R, K) -> (R, K)."""
    if table.device.type != "cpu" or len(table) < columns.shape[1]:  # CSR holds no more
        near = table.index_select(0, columns.reshape(-1)).view(*columns.shape, -1)
        return torch.einsum("rke,re->rk", near, table.index_select(0, own))
    # gathers and multiplies in one pass: nine times faster than in two, and nothing is copied
    number, width = columns.shape
    ends = torch.arange(0, number * width + 1, width, dtype=columns.dtype)
    wanted = torch.sparse_csr_tensor(
        ends, columns.reshape(-1), table.new_zeros(number * width), (number, len(table)),
        check_invariants=False,
    )
    found: Tensor = torch.sparse.sampled_addmm(
        wanted, table.index_select(0, own), table.T, beta=0.0
    )
    return found.values().view(number, width)


def _compact(
    table: Tensor, own: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Only those rows of a table that are needed, and the numbers that they have then."""
    needed = torch.cat((own.to(columns.dtype), columns.reshape(-1)))
    number = torch.arange(len(needed), dtype=needed.dtype, device=needed.device)
    place = torch.empty(len(table), dtype=needed.dtype, device=needed.device)
    place[needed] = number  # one of those that ask for a row speaks for it
    kept = needed[place[needed] == number]
    place[kept] = number[: len(kept)]
    renamed, count = place[needed], len(own)
    return table.index_select(0, kept), renamed[:count], renamed[count:].view(columns.shape)


def row_entropies(affinity: Affinity) -> Tensor:  # (V,)
    """Entropy of each row as a share of the largest possible one.

    1: all neighbours weigh the same, a blur; 0: a row that copies one neighbour. Inside a surface
    most neighbours are alike, so a good embedding also comes to 0.85 or more on average; it is
    the last percents below 1 that tell an embedding from a blur.
    """
    count, width = affinity.weight.shape
    out = torch.zeros(count, device=affinity.weight.device)
    if width < 2:
        return out
    for start in range(0, count, _ENTROPIES_AT_ONCE):
        rows = slice(start, start + _ENTROPIES_AT_ONCE)
        out[rows] = torch.special.entr(affinity.weight[rows]).sum(dim=1) / math.log(width)
    return out
