"""By how much one row of the table leads another, and how far that differs between rooms.

Four rooms can say anything: a difference of means is told with its standard error over the rooms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

_MEASURES = ("miou", "boundary_miou")


@dataclass(frozen=True)
class Lead:
    """Of one row over another; None where a number needs two rooms and there is one.

    Attributes:
        miou: mean difference of mIoU.
        miou_error: its standard error over the rooms.
        boundary_miou: the same in the boundary band.
        boundary_error: its standard error.
        num_better: rooms with a higher mIoU.
        num_rooms: how many there are.
        worst: least difference of mIoU.
        ceiling_share: of the ceiling's gain over raw, what the row has; None without a ceiling
            that gains.
    """

    miou: float
    miou_error: float | None
    boundary_miou: float
    boundary_error: float | None
    num_better: int
    num_rooms: int
    worst: float
    ceiling_share: float | None


def leads_over(
    rooms: list[dict[str, Any]], reference: str, raw: str, ceiling: str
) -> dict[str, Lead]:
    """The lead of every other row over `reference`.

    Args:
        rooms: of `table_of`; the lines of one name are averaged within a room.
        reference: name of a row.
        raw: name of the row that is not purified.
        ceiling: name of the row of true instances.

    Raises:
        KeyError: a room has no such row.
    """
    means = {
        measure: {
            name: [fmean(line[measure] for line in room["rows"][name]) for room in rooms]
            for name in rooms[0]["rows"]
        }
        for measure in _MEASURES
    }
    return {
        name: _lead(means, name, reference, raw, ceiling)
        for name in rooms[0]["rows"] if name != reference
    }  # fmt: skip


def _lead(
    means: dict[str, dict[str, list[float]]], name: str, reference: str, raw: str, ceiling: str
) -> Lead:
    whole, edge = (
        [a - b for a, b in zip(of[name], of[reference], strict=True)]
        for of in (means[measure] for measure in _MEASURES)
    )
    gain, most = (
        fmean(means["miou"][row]) - fmean(means["miou"][raw]) for row in (name, ceiling)
    )
    return Lead(
        fmean(whole), _error(whole), fmean(edge), _error(edge), sum(x > 0 for x in whole),
        len(whole), min(whole), gain / most if most > 0 else None,
    )  # fmt: skip


def _error(values: list[float]) -> float | None:
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def markdown(leads: dict[str, Lead], reference: str) -> str:
    """The leads as rows for BENCHMARK.md."""
    lines = [
        f"| lead over {reference} | mIoU | boundary mIoU | better in | worst | of the ceiling |",
        "|---" * 6 + "|",
    ]
    for name, lead in leads.items():
        share = "-" if lead.ceiling_share is None else f"{lead.ceiling_share:.0%}"
        lines.append(
            f"| {name} | {_with(lead.miou, lead.miou_error)} "
            f"| {_with(lead.boundary_miou, lead.boundary_error)} "
            f"| {lead.num_better} of {lead.num_rooms} | {lead.worst:+.3f} | {share} |"
        )
    return "\n".join(lines)


def _with(value: float, error: float | None) -> str:
    return f"{value:+.3f}" + ("" if error is None else f" +- {error:.3f}")
