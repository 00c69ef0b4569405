"""Logits of all voxels for the texts of a query, some rows at a time: never all of (V, L)."""

from __future__ import annotations

from collections.abc import Container, Iterator

import torch
from torch import Tensor
from torch.linalg import vector_norm

from geopurify_ros.core.answers.texts import EncodedTexts
from geopurify_ros.core.mapping.lifted_map import LiftedMap
from geopurify_ros.core.purification.purified import Purified

BLOCK_ROWS = 1024  # the products of 160 texts stay in the cache
LogitChunks = Iterator[tuple[slice, Tensor]]  # rows of one block and their logits (R, L), in order
Blocks = Container[int] | None  # numbers of the blocks that are wanted; None: all


def raw_logits(
    lifted: LiftedMap, texts: EncodedTexts, first_row: int = 0, only: Blocks = None
) -> LogitChunks:
    """Scaled cosines of features and texts (1.1), from a row on."""
    matrix = texts.logit_scale * texts.vectors.T
    for rows, chunk in lifted.feature_chunks(first_row):
        for piece in _pieces(max(rows.start, first_row), rows.stop, only):
            part = chunk[piece.start - rows.start : piece.stop - rows.start].to(torch.float32)
            lengths = vector_norm(part, dim=1, keepdim=True).clamp_min(1e-6)
            yield piece, texts.readable((part @ matrix).div_(lengths))


def purified_logits(
    purified: Purified, lifted: LiftedMap, texts: EncodedTexts, only: Blocks = None
) -> LogitChunks:
    """The same of purified features; voxels newer than the purification have their raw ones."""
    matrix = texts.logit_scale * (purified.basis.vectors.T @ texts.vectors.T)
    for piece in _pieces(0, len(purified), only):
        yield piece, texts.readable(purified.values[piece].to(torch.float32) @ matrix)
    yield from raw_logits(lifted, texts, len(purified), only)


def _pieces(start: int, stop: int, only: Blocks) -> Iterator[slice]:
    """Rows from start to stop, cut where a block ends."""
    while start < stop:
        number = start // BLOCK_ROWS
        end = min((number + 1) * BLOCK_ROWS, stop)
        if only is None or number in only:
            yield slice(start, end)
        start = end


def raw_state(lifted: LiftedMap) -> Tensor:  # (blocks, 2) int64
    """What each block's raw logits depend on: they are the same while this is."""
    return _state(lifted.voxels.changed_at())


def purified_state(purified: Purified, lifted: LiftedMap) -> Tensor:  # (blocks, 4) int64
    """The same of purified ones."""
    changed = lifted.voxels.changed_at().clone()
    changed[: len(purified)] = 0  # their raw features do not matter
    kept = torch.full_like(changed, -1)
    kept[: len(purified)] = purified.changed_at
    return torch.cat((_state(changed), _state(kept)), dim=1)


def _state(stamps: Tensor) -> Tensor:  # (V,) -> (blocks, 2)
    """Newest stamp and number of rows of each block."""
    blocks = -(-len(stamps) // BLOCK_ROWS)
    padded = torch.full((blocks * BLOCK_ROWS,), -2, dtype=torch.int64, device=stamps.device)
    padded[: len(stamps)] = stamps
    padded = padded.view(blocks, BLOCK_ROWS)
    return torch.stack((padded.amax(dim=1), (padded > -2).sum(dim=1)), dim=1)
