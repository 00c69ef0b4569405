"""All or nothing: new rows of tensors are made first and written last.

Whatever may fail for want of memory happens while the edits are made; writing them only copies
into memory that is there. What fails all the same is taken back, so that a map never holds half
of a frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

_GROWTH = 1.2


@dataclass(frozen=True)
class Edit:
    """Rows of a tensor as they were and as they shall be.

    Attributes:
        target: (R, ...), written by `write_all`.
        rows: (M,) int64, distinct.
        before: (M, ...), what the rows hold.
        after: (M, ...), what they will hold.
    """

    target: Tensor
    rows: Tensor
    before: Tensor
    after: Tensor

    @classmethod
    def of(cls, target: Tensor, rows: Tensor, after: Tensor) -> Edit:
        """`after` is brought to the type of the target."""
        return cls(target, rows, target.index_select(0, rows), after.to(target.dtype))


def write_all(edits: Iterable[Edit]) -> None:
    """Write all edits, or none: an error is passed on once every row is as it was."""
    edits = list(edits)
    try:
        for edit in edits:
            edit.target.index_copy_(0, edit.rows, edit.after)
    except BaseException:
        for edit in edits:
            edit.target.index_copy_(0, edit.rows, edit.before)
        raise


def grown(held: Tensor, num_rows: int) -> Tensor:
    """`held` where it has room for `num_rows` rows, else a longer copy with zeros behind."""
    if len(held) >= num_rows:
        return held
    more = int(num_rows * _GROWTH) - len(held)
    return torch.cat((held, held.new_zeros((more, *held.shape[1:]))))


class GrowingRows:
    """Rows of a tensor that more are added to: it is copied when it is a fifth longer."""

    def __init__(self, rows: Tensor) -> None:
        """Begin with `rows`, which are taken over."""
        self._held, self._count = rows, len(rows)

    @property
    def rows(self) -> Tensor:
        """All rows; a view."""
        return self._held[: self._count]

    def put(self, rows: Tensor, values: Tensor, count: int) -> None:
        """Write `values` (M, ...) to `rows` (M,) int64; there are `count` rows from now on."""
        self._held = grown(self._held, count)
        self._held[rows] = values.to(self._held.dtype)
        self._count = count
