"""Logits of all voxels for the texts of a query, some rows at a time: never all of (V, L)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.linalg import vector_norm

from geopurify_ros.core.answers.texts import EncodedTexts
from geopurify_ros.core.mapping.lifted_map import LiftedMap
from geopurify_ros.core.purification.purified import Purified

_ROWS_AT_ONCE = 1024  # the products of 160 texts stay in the cache
LogitChunks = Iterator[tuple[slice, Tensor]]  # rows and their logits (R, L), in order


def raw_logits(lifted: LiftedMap, texts: EncodedTexts, first_row: int = 0) -> LogitChunks:
    """Scaled cosines of features and texts (1.1), from a row on."""
    matrix = texts.logit_scale * texts.vectors.T
    for rows, chunk in lifted.feature_chunks(first_row):
        for start in range(max(rows.start, first_row), rows.stop, _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, rows.stop)
            part = chunk[start - rows.start : stop - rows.start].to(torch.float32)
            lengths = vector_norm(part, dim=1, keepdim=True).clamp_min(1e-6)
            yield slice(start, stop), texts.readable((part @ matrix).div_(lengths))


def purified_logits(purified: Purified, lifted: LiftedMap, texts: EncodedTexts) -> LogitChunks:
    """The same of purified features; voxels newer than the purification have their raw ones."""
    matrix = texts.logit_scale * (purified.basis.vectors.T @ texts.vectors.T)
    for rows, chunk in purified.chunks():
        yield rows, texts.readable(chunk @ matrix)
    yield from raw_logits(lifted, texts, len(purified))
