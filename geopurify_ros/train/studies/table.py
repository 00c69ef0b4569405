"""The big table: many embeddings purify the same maps (METHODS 1.14, "Baselines")."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.embedding import geometric_embedding
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.scene import VoxelScene, scene_of_map
from geopurify_ros.core.purification.student import StudentNet
from geopurify_ros.evaluate.metrics import boundary_band
from geopurify_ros.evaluate.runner import BAND_NEIGHBORS, Mapped, scores
from geopurify_ros.train.students.student_run import seeded_student

COLUMNS = ("miou", "gated_miou", "boundary_miou", "macc", "f_miou", "entropy", "changed",
           "boundary_before", "boundary_after", "seconds")
RAW, BLUR, SOFT, CEILING = "raw", "blur", "soft normal + Lab", "ceiling (true instances)"
UNTRAINED = "untrained student"
_CODE_DIM = 64


@dataclass(frozen=True)
class Candidate:
    """One row of the table; rows of one name are averaged (training seeds).

    Attributes:
        name: of the row.
        embed: unit-norm embeddings (V, E) of a mapped sequence.
        scale: of the affinity; None takes the configured one.
    """

    name: str
    embed: Callable[[Mapped], Tensor]
    scale: float | None = None


def baselines() -> list[Candidate]:
    """What every student is compared with; raw comes by itself."""
    return [
        Candidate(BLUR, _soft, scale=0.0),
        Candidate(SOFT, _soft),
        Candidate(CEILING, instance_embedding),
    ]


def of_student(name: str, net: StudentNet) -> Candidate:
    """A student as a candidate; it goes where the map is."""
    return Candidate(name, lambda mapped: net.to(mapped.pipeline.device).embed(scene_of(mapped)))


def untrained_like(net: StudentNet, seed: int) -> StudentNet:
    """What a student was before its training: its shape and input statistics, random weights."""
    fresh = seeded_student(net.shape, len(net.mean), seed)
    fresh.set_statistics(net.mean, 1.0 / net.scale)
    return fresh


def of_teacher(name: str, features: Callable[[VoxelScene], Tensor]) -> Candidate:
    """A teacher's own features as an embedding."""
    return Candidate(name, lambda mapped: features(scene_of(mapped)))


def scene_of(mapped: Mapped) -> VoxelScene:
    """The map as students and teachers see it."""
    return scene_of_map(mapped.pipeline.map, mapped.pipeline.map.up_sum)


def _soft(mapped: Mapped) -> Tensor:
    voxel_map = mapped.pipeline.map
    return geometric_embedding(voxel_map.normals(), voxel_map.colors())


def instance_embedding(mapped: Mapped) -> Tensor:  # (V, 64)
    """A pseudo-random direction per true instance: nobody's embedding can do much better."""
    instances = mapped.truth if mapped.instances is None else mapped.instances
    generator = torch.Generator().manual_seed(20260103)
    codes = torch.randn((int(instances.max()) + 1, _CODE_DIM), generator=generator)
    return normalize(codes, dim=1).to(mapped.pipeline.device)[instances]


def table_of(mapped: Mapped, name: str, candidates: list[Candidate]) -> dict[str, Any]:
    """Scores of all candidates on one mapped sequence, by name; a list per name."""
    pipeline = mapped.pipeline
    graph = nearest_neighbors(pipeline.map.index, pipeline.map.coords(), BAND_NEIGHBORS)
    band = boundary_band(mapped.truth, graph.index, graph.mask)
    raw = Pipeline(pipeline.encoder, pipeline.config, pipeline.device)
    raw.replace_map(pipeline.map)
    rows: dict[str, list[dict[str, Any]]] = {RAW: [_row(raw, mapped, band, 0.0)]}
    for candidate in candidates:
        start = time.perf_counter()
        embeddings = candidate.embed(mapped)
        variant = _variant(pipeline, candidate)
        variant.purify_with(embeddings)
        seconds = time.perf_counter() - start
        rows.setdefault(candidate.name, []).append(_row(variant, mapped, band, seconds))
    return {"sequence": name, "num_voxels": len(pipeline.map), "rows": rows}


def _variant(pipeline: Pipeline, candidate: Candidate) -> Pipeline:
    """Another pipeline on the same map, to be purified with another embedding."""
    config = pipeline.config
    if candidate.scale is not None:
        purify = dataclasses.replace(config.purify, affinity_scale=candidate.scale)
        config = dataclasses.replace(config, purify=purify)
    variant = Pipeline(pipeline.encoder, config, pipeline.device)
    variant.replace_map(pipeline.map)
    return variant


def _row(variant: Pipeline, mapped: Mapped, band: Tensor, seconds: float) -> dict[str, Any]:
    start = time.perf_counter()
    answer = variant.query(TextQuery(mapped.class_names))
    seconds += time.perf_counter() - start
    found = scores(answer.pooled.label, mapped.truth, band, mapped.class_names)
    used = scores(answer.purified.label, mapped.truth, band, mapped.class_names)
    return {
        **found, **dataclasses.asdict(answer.effect), "declined": answer.objection,
        "gated_miou": used["miou"], "seconds": seconds,
    }


def summarize(rooms: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over rooms (and over seeds within a room), the gain over raw and the worst room."""
    summary = {}
    for name in rooms[0]["rows"]:
        means = [_mean_of(room["rows"][name]) for room in rooms]
        gains = [mean["gated_miou"] - room["rows"][RAW][0]["miou"]
                 for mean, room in zip(means, rooms, strict=True)]
        summary[name] = {column: _mean([mean[column] for mean in means]) for column in COLUMNS}
        summary[name]["gain"] = _mean([mean["miou"] for mean in means]) - _mean(
            [room["rows"][RAW][0]["miou"] for room in rooms])
        summary[name]["worst_gain"] = min(gains)
    return summary


def markdown(summary: dict[str, dict[str, float]]) -> str:
    """The summary as rows for BENCHMARK.md."""
    head = ("mIoU", "gain", "worst room (gated)", "boundary mIoU", "mAcc", "f-mIoU", "entropy",
            "changed", "seconds")
    keys = ("miou", "gain", "worst_gain", "boundary_miou", "macc", "f_miou", "entropy",
            "changed", "seconds")
    lines = ["| embedding | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for name, values in summary.items():
        lines.append(f"| {name} | " + " | ".join(f"{values[key]:.3f}" for key in keys) + " |")
    return "\n".join(lines)


def _mean_of(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {column: _mean([row[column] for row in rows]) for column in COLUMNS}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
