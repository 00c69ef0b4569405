"""The basis that an encoder's features are pooled in, and the smallest rank of it that will do.

Derived from raw and directly purified features of training rooms; the rank is the smallest whose
labels agree with those of direct pooling, all D columns of it, in every check room.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.core.purification.basis import directions, second_moment
from geopurify_ros.core.purification.gate import best_texts
from geopurify_ros.data.tensor_file import SafetensorError, write_tensors
from geopurify_ros.encoders.basis_file import BASIS_KIND, TENSOR
from geopurify_ros.errors import InputError
from geopurify_ros.evaluate.metrics import class_scores, confusion_matrix
from geopurify_ros.evaluate.runner import Mapped
from geopurify_ros.train.rooms.classes import room_classes

LEAST_AGREEMENT, MOST_MIOU_APART = 0.995, 0.003
_STEP = 16  # of the ranks that are tried
_COLUMNS_AT_ONCE = 32
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class RankFigures:
    """What a rank keeps, in one room.

    Attributes:
        rank: directions kept.
        agreement: share of voxels with the label of direct pooling, of the whole vocabulary.
        agreement_own: the same of the room's own names.
        miou_apart: mIoU less that of direct pooling, without sign; of the room's own names.
        left_out: share of the energy of the raw features outside.
    """

    rank: int
    agreement: float
    agreement_own: float
    miou_apart: float
    left_out: float


def moments_of(rooms: Iterator[tuple[str, Mapped]]) -> tuple[Tensor, list[str]]:
    """Second moment (D, D) of raw and purified features, every room alike; names of the rooms."""
    total, names = torch.zeros(()), []
    for name, mapped in rooms:
        width, device = mapped.pipeline.encoder.feature_dim, mapped.pipeline.device
        for features in (mapped.pipeline.map.features(), pooled_directly(mapped)):
            parts = torch.split(features, _ROWS_AT_ONCE)
            total = total + second_moment(parts, width, device).cpu()
        names.append(name)
    return total / (2 * len(names)), names


@torch.inference_mode()
def pooled_directly(mapped: Mapped) -> Tensor:  # (V, D) float32
    """Purified features, every column pooled: the plain way."""
    pipeline = mapped.pipeline
    pipeline.purify()
    columns = torch.split(pipeline.map.features(), _COLUMNS_AT_ONCE, dim=1)
    return torch.cat([pipeline.purified(part.contiguous()) for part in columns], dim=1)


def check(
    rooms: Iterator[tuple[str, Mapped]], moment: Tensor, ranks: Sequence[int] = ()
) -> dict[str, list[RankFigures]]:
    """Figures of every rank in every room."""
    vectors, _ = directions(moment)
    ranks = ranks or range(_STEP, len(moment) + 1, _STEP)
    return {name: _figures(mapped, vectors, ranks) for name, mapped in rooms}


@torch.inference_mode()
def _figures(mapped: Mapped, vectors: Tensor, ranks: Sequence[int]) -> list[RankFigures]:
    pipeline, pooled = mapped.pipeline, pooled_directly(mapped)
    vectors = vectors.to(pooled.device)
    width = len(vectors)
    raw = second_moment(
        torch.split(pipeline.map.features(), _ROWS_AT_ONCE), width, pooled.device
    ).to(vectors)  # fmt: skip
    energy = torch.einsum("dr,de,er->r", vectors, raw, vectors)  # along each direction
    texts = [pipeline.encoder.encode_text(names).to(pooled)
             for names in (tuple(room_classes()), mapped.class_names)]
    direct = [_best(pooled, text) for text in texts]
    miou = _miou(direct[1], mapped)
    found = []
    for rank in ranks:
        basis = vectors[:, :rank]
        kept = normalize(pooled @ basis, dim=1).to(torch.float16).to(torch.float32)
        best = [_best(kept, text @ basis) for text in texts]
        whole, own = (float((a == b).double().mean()) for a, b in zip(best, direct, strict=True))
        left_out = 1.0 - float(energy[:rank].sum() / energy.sum())
        found.append(RankFigures(rank, whole, own, abs(_miou(best[1], mapped) - miou), left_out))
    return found


def _best(values: Tensor, texts: Tensor) -> Tensor:  # (V, C), (L, C) -> (V,)
    """Number of the best text of each voxel."""
    return best_texts(torch.split(values, _ROWS_AT_ONCE), texts)


def _miou(best: Tensor, mapped: Mapped) -> float:
    names = mapped.class_names
    return class_scores(confusion_matrix(best + 1, mapped.truth, len(names)), names).miou


def worst(figures: dict[str, list[RankFigures]]) -> list[RankFigures]:
    """The worst room of each rank, figure by figure."""
    return [
        RankFigures(
            of_rank[0].rank,
            min(one.agreement for one in of_rank),
            min(one.agreement_own for one in of_rank),
            max(one.miou_apart for one in of_rank),
            max(one.left_out for one in of_rank),
        )
        for of_rank in zip(*figures.values(), strict=True)
    ]


def smallest(rows: list[RankFigures]) -> RankFigures | None:
    """The smallest rank that will do; None if none does."""
    for row in rows:
        alike = min(row.agreement, row.agreement_own) >= LEAST_AGREEMENT
        if alike and row.miou_apart <= MOST_MIOU_APART:
            return row
    return None


def table(rows: list[RankFigures]) -> str:
    """The figures as rows for BENCHMARK.md."""
    head = ("rank", "agreement", "of own names", "mIoU apart", "raw energy left out")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += [
        f"| {row.rank} | {row.agreement:.4f} | {row.agreement_own:.4f} | {row.miou_apart:.4f} | "
        f"{row.left_out:.4f} |" for row in rows
    ]  # fmt: skip
    return "\n".join(lines)


def header_of(
    encoder_id: str, row: RankFigures, rooms: list[str], check_rooms: list[str]
) -> dict[str, Any]:
    """What the file says of itself: the figures are those of the worst check room."""
    made = {"rooms": rooms, "check_rooms": check_rooms}
    return {"encoder": encoder_id, **asdict(row), **made, "made_by": "geopurify train basis"}


def write(path: Path, moment: Tensor, header: dict[str, Any]) -> None:
    """The first directions, as many as the header says.

    Raises:
        InputError: the file cannot be written.
    """
    vectors = directions(moment)[0][:, : header["rank"]].contiguous()
    try:
        write_tensors(path, {TENSOR: vectors}, BASIS_KIND, header)
    except (OSError, SafetensorError) as error:
        raise InputError(f"the basis could not be written to {path}: {error}") from error
