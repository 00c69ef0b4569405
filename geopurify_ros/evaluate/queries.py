"""`geopurify eval --queries`: names asked as a user asks them, alone or three at a time.

Every class that is present with at least 50 voxels, structure left out, is asked for alone; so are
names of a fixed list that are not in the room. Twelve seeded triples of either kind follow.
Precision counts labelled voxels. The yardstick of a name is its score where all names of the room
compete, which knows what the room holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geopurify_ros.core.answers.answer import Answer
from geopurify_ros.core.answers.query import TextQuery, VoxelLabels, make_query, parse_negatives
from geopurify_ros.core.answers.summary import summarize
from geopurify_ros.core.mapping.encoder import Profiled
from geopurify_ros.evaluate.metrics import BACKGROUND_CLASSES, mean_of
from geopurify_ros.evaluate.reliability import expected_calibration_error
from geopurify_ros.evaluate.runner import Mapped

ABSENT = (
    "bicycle", "toilet", "bathtub", "refrigerator", "washing machine", "piano", "guitar", "bed",
    "sofa", "car", "tree", "dog", "stairs", "oven", "sink", "television", "wardrobe", "laptop",
    "ladder", "umbrella",
)  # fmt: skip
_LEAST_VOXELS = 50
_LEAST_LABELED = 0.95  # share of the voxels from which absent names are judged
_NUM_TRIPLES, _ABSENT_TRIPLES, _SEED = 12, 4, 0


@dataclass(frozen=True)
class Overlap:
    """One name against its truth; precision is NaN where nothing is labelled."""

    iou: float
    precision: float
    recall: float


@dataclass(frozen=True)
class _Asked:
    """One query: what was asked, the labels, and which prompts were found."""

    names: tuple[str, ...]
    labels: VoxelLabels
    found: tuple[bool, ...]


def overlap(predicted: Tensor, truth: Tensor, labeled: Tensor) -> Overlap:
    """Of masks (V,); predictions on voxels without a label do not count."""
    predicted = predicted & labeled
    both, of_either = int((predicted & truth).sum()), int((predicted | truth).sum())
    num = int(predicted.sum())
    return Overlap(both / max(1, of_either), both / num if num else float("nan"),
                   both / max(1, int(truth.sum())))  # fmt: skip


def present_names(mapped: Mapped) -> dict[str, int]:
    """Name -> number in the truth, of the classes that are asked for."""
    count = torch.bincount(mapped.truth, minlength=len(mapped.class_names) + 1)
    return {name: k for k, name in enumerate(mapped.class_names, start=1)
            if int(count[k]) >= _LEAST_VOXELS and name not in BACKGROUND_CLASSES}  # fmt: skip


def absent_names(mapped: Mapped) -> list[str]:
    """Names of the list that share no word with a name of the room, and say none of its names."""
    encoder = mapped.pipeline.encoder
    synonyms = encoder.answer_profile.synonyms if isinstance(encoder, Profiled) else {}
    words = {word for name in mapped.class_names for word in name.split()}
    return [name for name in ABSENT
            if not words & {*name.split(), *synonyms.get(name, "").split()}]  # fmt: skip


@torch.inference_mode()
def evaluate_queries(mapped: Mapped) -> dict[str, Any]:
    """Figures of raw and purified labels, alone and in triples; purify the map before."""
    rounds = {
        name: [(names, _ask(mapped, names)) for names in asked]
        for name, asked in (("single", _singles(mapped)), ("triple", _triples(mapped)))
    }
    yardstick = mapped.pipeline.query(TextQuery(mapped.class_names))
    result: dict[str, Any] = {
        "num_present": len(present_names(mapped)),
        "labeled": float((mapped.truth > 0).double().mean()),
    }
    for kind in ("raw", "purified"):
        result[kind] = {
            name: _figures(mapped, [_judged(mapped, *one, kind) for one in answers],
                           _labels(yardstick, kind).label)
            for name, answers in rounds.items()
        }  # fmt: skip
    return result


def _singles(mapped: Mapped) -> list[tuple[str, ...]]:
    return [(name,) for name in (*present_names(mapped), *absent_names(mapped))]


def _triples(mapped: Mapped) -> list[tuple[str, ...]]:
    rng, made = np.random.default_rng(_SEED), []
    for names, count in ((list(present_names(mapped)), _NUM_TRIPLES),
                         (absent_names(mapped), _ABSENT_TRIPLES)):  # fmt: skip
        for _ in range(count):
            made.append(tuple(rng.permutation(names)[:3].tolist()))
    return [names for names in made if names]


def _query(mapped: Mapped, names: tuple[str, ...]) -> TextQuery:
    """As the node would make it, with the parameters of the pipeline."""
    settings = mapped.pipeline.config.query
    negatives = parse_negatives(settings.negatives)
    return make_query(names, negatives, settings.threshold, settings.min_voxels)


def _ask(mapped: Mapped, names: tuple[str, ...]) -> Answer:
    return mapped.pipeline.query(_query(mapped, names))


def _labels(answer: Answer, kind: str) -> VoxelLabels:
    if kind == "purified" or answer.raw is None:
        return answer.purified
    return answer.raw


def _judged(mapped: Mapped, names: tuple[str, ...], answer: Answer, kind: str) -> _Asked:
    voxels, labels = mapped.pipeline.map, _labels(answer, kind)
    found = summarize(_query(mapped, names), labels, voxels.coords(), voxels.voxel_size_m)
    return _Asked(names, labels, tuple(one.found for one in found))


def _figures(mapped: Mapped, answers: Sequence[_Asked], closed: Tensor) -> dict[str, Any]:
    present, labeled = present_names(mapped), mapped.truth > 0
    is_judged = float(labeled.double().mean()) >= _LEAST_LABELED
    scores: dict[str, list[Overlap]] = {name: [] for name in present}
    yardstick = {name: overlap(closed == k, mapped.truth == k, labeled)
                 for name, k in present.items()}  # fmt: skip
    absent: list[tuple[str, bool, int]] = []
    chances, hits = [], []
    for one in answers:
        for k, name in enumerate(one.names, start=1):
            carries = one.labels.label == k
            if name in present:
                scores[name].append(overlap(carries, mapped.truth == present[name], labeled))
            else:
                absent.append((name, one.found[k - 1], int(carries.sum())))
        if len(one.names) == 1 and (one.names[0] in present or is_judged):
            chances.append(one.labels.score[labeled])
            hits.append(mapped.truth[labeled] == present.get(one.names[0], -1))
    asked = {name: values for name, values in scores.items() if values}
    of = {name: _mean(values) for name, values in asked.items()}
    return {
        **_mean_of_names(of, ""),
        **_mean_of_names({name: yardstick[name] for name in asked}, "yardstick_"),
        "absent_names": len(absent),
        "absent_judged": is_judged,
        "absent_found": sum(found for _, found, _ in absent),
        "absent_mean_voxels": mean_of([count for _, _, count in absent]),
        "ece": expected_calibration_error(chances, hits)[0] if chances else float("nan"),
        "diagram": expected_calibration_error(chances, hits)[1] if chances else [],
        "per_name": {
            name: {**vars(of[name]), "yardstick_iou": yardstick[name].iou} for name in asked
        },
        "per_absent_name": {name: {"found": found, "voxels": count}
                            for name, found, count in absent},
    }  # fmt: skip


def _mean(values: list[Overlap]) -> Overlap:
    return Overlap(mean_of([one.iou for one in values]),
                   mean_of([one.precision for one in values]),
                   mean_of([one.recall for one in values]))  # fmt: skip


def _mean_of_names(scores: dict[str, Overlap], prefix: str) -> dict[str, float]:
    """Macro means; names without a labelled voxel have no precision (`precision_all`: 0)."""
    precision = [one.precision for one in scores.values()]
    return {
        f"{prefix}iou": mean_of([one.iou for one in scores.values()]),
        f"{prefix}precision": mean_of(precision),
        f"{prefix}precision_all": mean_of([0.0 if p != p else p for p in precision]),
        f"{prefix}recall": mean_of([one.recall for one in scores.values()]),
    }


def format_queries(queries: dict[str, Any]) -> str:
    """The figures as a table."""
    columns = ("iou", "yardstick_iou", "precision", "yardstick_precision", "recall", "ece")
    lines = [f"{'queries':18}" + "".join(f"{c:>20}" for c in columns) + "      absent found"]
    for kind in ("raw", "purified"):
        for name in ("single", "triple"):
            figures = queries[kind][name]
            found = "{absent_found} of {absent_names}, {absent_mean_voxels:.0f} voxels"
            lines.append(f"{kind + ' ' + name:18}"
                         + "".join(f"{figures[c]:20.3f}" for c in columns) + "   "
                         + found.format(**figures)
                         + ("" if figures["absent_judged"] else " (partly labelled: not judged)"))
    return "\n".join(lines)
