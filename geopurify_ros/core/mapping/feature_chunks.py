"""Features of voxels, (R, D) float16, in chunks that are allocated once and never copied.

A snapshot shares the chunks: one is copied when it is written for the first time afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from geopurify_ros.core.mapping.edits import Edit
from geopurify_ros.core.mapping.fusion import FeatureBags

CHUNK_ROWS = 4096
_ROWS_AT_ONCE = 512  # rows updated together: 1 MB of float32 features stays in the cache


class FeatureChunks:
    """The features of the rows of a map."""

    def __init__(self, feature_dim: int, device: torch.device) -> None:
        """No row yet."""
        self.feature_dim, self._device = feature_dim, device
        self._chunks: list[Tensor] = []
        self._shared: set[int] = set()  # that a snapshot holds

    @property
    def num_bytes(self) -> int:
        """Memory of the chunks."""
        return sum(chunk.numel() * chunk.element_size() for chunk in self._chunks)

    def reserve(self, num_rows: int) -> None:
        """Make room."""
        while len(self._chunks) * CHUNK_ROWS < num_rows:
            shape = (CHUNK_ROWS, self.feature_dim)
            self._chunks.append(torch.zeros(shape, dtype=torch.float16, device=self._device))

    def share(self) -> None:
        """All chunks are in a snapshot from now on."""
        self._shared = set(range(len(self._chunks)))

    def edits(
        self,
        rows: Tensor,  # (M,) int64, ascending
        bags: FeatureBags,  # M, in the order of the rows
        share: Tensor,  # (M, 1)
    ) -> list[Edit]:
        """Each row's feature moves by its share towards the new one, chunk by chunk."""
        edits = []
        for number, first, last in self._parts(rows):
            chunk, local = self._writable(number), rows[first:last] - number * CHUNK_ROWS
            old = chunk.index_select(0, local)
            new = torch.empty_like(old)
            for start in range(first, last, _ROWS_AT_ONCE):
                stop = min(start + _ROWS_AT_ONCE, last)
                part = slice(start - first, stop - first)
                mean = old[part].to(torch.float32)
                new[part] = mean.lerp_(bags.features(start, stop), share[start:stop])
            edits.append(Edit(chunk, local, old, new))
        return edits

    def moved(self, sources: Tensor, targets: Tensor) -> list[Edit]:
        """Rows (M,) copied to the rows `targets` (M,) ascending."""
        edits = []
        for number, first, last in self._parts(targets):
            local = targets[first:last] - number * CHUNK_ROWS
            edits.append(Edit.of(self._writable(number), local, self.rows(sources[first:last])))
        return edits

    def drop_behind(self, num_rows: int) -> None:
        """Only so many rows are left; cannot fail."""
        del self._chunks[-(-num_rows // CHUNK_ROWS) :]
        self._shared = {number for number in self._shared if number < len(self._chunks)}

    def _parts(self, rows: Tensor) -> Iterator[tuple[int, int, int]]:
        """Chunks that ascending rows lie in, and where these begin and end among the rows."""
        edges = torch.arange(0, (len(self._chunks) + 1) * CHUNK_ROWS, CHUNK_ROWS)
        cuts: list[int] = torch.searchsorted(rows, edges.to(rows.device)).tolist()
        for number in range(len(self._chunks)):
            if cuts[number] < cuts[number + 1]:
                yield number, cuts[number], cuts[number + 1]

    def _writable(self, number: int) -> Tensor:
        if number in self._shared:
            self._chunks[number] = self._chunks[number].clone()
            self._shared.discard(number)
        return self._chunks[number]

    def chunks(self, num_rows: int, first_row: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """Rows and their features (R, D), from the chunk that holds `first_row`; do not write."""
        for start in range(first_row - first_row % CHUNK_ROWS, num_rows, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, num_rows)
            yield slice(start, stop), self._chunks[start // CHUNK_ROWS][: stop - start]

    def replace(self, chunks: Iterable[Tensor]) -> None:
        """Take features (R, D), cut as `chunks` cuts them; snapshots keep the old."""
        made = []
        for chunk in chunks:
            room = chunk.new_zeros((CHUNK_ROWS, self.feature_dim), dtype=torch.float16)
            room[: len(chunk)] = chunk
            made.append(room)
        self._chunks, self._shared = made, set()

    def rows(self, rows: Tensor) -> Tensor:  # (M,) int64 -> (M, D) float16
        """A copy of the features of some rows."""
        return rows_of(tuple(self._chunks), rows, self.feature_dim)


def rows_of(
    chunks: tuple[Tensor, ...],  # (R, D) float16, CHUNK_ROWS each but for the last
    rows: Tensor,  # (M,) int64
    feature_dim: int,
) -> Tensor:  # (M, D) float16
    """Features of some rows of what `FeatureChunks.chunks` yields."""
    out = torch.empty((len(rows), feature_dim), dtype=torch.float16, device=rows.device)
    number = torch.div(rows, CHUNK_ROWS, rounding_mode="floor")
    order = torch.argsort(number)
    counts = torch.bincount(number, minlength=len(chunks)).tolist()
    for k, here in enumerate(torch.split(order, counts)):
        if len(here):
            out[here] = chunks[k].index_select(0, rows[here] - k * CHUNK_ROWS)
    return out
