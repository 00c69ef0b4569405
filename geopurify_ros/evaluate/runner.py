"""`geopurify eval`: raw, blurred and purified labels of a sequence against its ground truth."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geopurify_ros.config import DepthConfig
from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.mapping import fusion
from geopurify_ros.core.mapping.block_index import BlockIndex
from geopurify_ros.core.mapping.encoder import dtype_name
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.data.readers.recording import LabeledRecording
from geopurify_ros.errors import InputError
from geopurify_ros.evaluate.metrics import (
    boundary_band,
    class_scores,
    confusion_matrix,
    renumbered,
)
from geopurify_ros.progress import progress

BAND_NEIGHBORS = 24
_MOST_INSTANCES = 2048  # larger numbers count as unlabelled


class VoxelTruth:
    """The majority label of the depth pixels that fell into each voxel of a map."""

    def __init__(self, class_ids: list[int]) -> None:
        """Labels are renumbered 1 .. C in the order of `class_ids`; other ids count as 0."""
        self._class_ids = class_ids
        self._num_classes = len(class_ids)
        self._device = torch.device("cpu")  # of the map
        self._votes: list[Tensor] = []  # row * (C + 1) + label, one per pixel

    def add(
        self,
        index: BlockIndex,
        frame: RgbdFrame,
        label: NDArray[np.int64],  # (H, W)
        depth: DepthConfig,
        voxel_size_m: float,
    ) -> None:
        """Count the labels of the believed pixels of a frame; voxels unknown to `index` do not."""
        self._device = index.device
        try:
            points = fusion.frame_points(frame, depth, voxel_size_m, index.device)
        except InputError:  # no pixel is believed: the map has nothing of it either
            return
        rows = index.lookup(points.coords)
        labels = torch.from_numpy(renumbered(label, self._class_ids).reshape(-1)).to(rows.device)
        votes = rows * (self._num_classes + 1) + labels[points.pixel_index]
        self._votes.append(votes[rows >= 0])

    def labels(self, num_voxels: int) -> Tensor:  # (V,) int64
        """Label per voxel, the smallest of equals, 0 where no labelled pixel fell."""
        size = self._num_classes + 1
        label = torch.zeros(num_voxels, dtype=torch.int64, device=self._device)
        if not self._votes:
            return label
        # pairs that occur, not all there could be: of 2048 instances few fall into a voxel
        pairs, count = torch.unique(torch.cat(self._votes), return_counts=True)
        pairs, count = pairs[pairs % size > 0], count[pairs % size > 0]
        row = torch.div(pairs, size, rounding_mode="floor")
        most = torch.zeros_like(label).scatter_reduce_(0, row, count, "amax")
        best = count == most[row]
        label.fill_(size).scatter_reduce_(0, row[best], pairs[best] % size, "amin")
        return torch.where(most > 0, label, 0)


@dataclass(frozen=True)
class Mapped:
    """A sequence in a map, with truth; `instances` are class labels where there are none."""

    pipeline: Pipeline
    truth: Tensor  # (V,)
    class_names: tuple[str, ...]
    instances: Tensor | None = None  # (V,)


def map_sequence(sequence: LabeledRecording, pipeline: Pipeline, every: int = 1) -> Mapped:
    """Map every `every`-th usable frame of a labelled sequence, without a keyframe gate."""
    config, truth = pipeline.config, VoxelTruth(list(sequence.class_names))
    segments = VoxelTruth(list(range(1, _MOST_INSTANCES))) if sequence.has_instances else None
    refused = []
    for number in progress(range(0, len(sequence), every), None, "map", "frame"):
        try:
            frame = sequence.frame(number)
            pipeline.integrate(frame)
        except InputError as error:
            refused.append(str(error))
            continue
        truth.add(pipeline.map.index, frame, sequence.label(number), config.depth,
                  config.map.voxel_size_m)
        if segments is not None:
            segments.add(pipeline.map.index, frame, sequence.label(number, "instance"),
                         config.depth, config.map.voxel_size_m)
    if len(pipeline.map) == 0:
        raise InputError(f"no frame of {sequence.path} could be used: {refused[0]}")
    pipeline.lifted.settle()
    labels = truth.labels(len(pipeline.map))
    instances = labels if segments is None else segments.labels(len(pipeline.map))
    return Mapped(pipeline, labels, tuple(sequence.class_names.values()), instances)


def evaluate(mapped: Mapped, sequence_name: str) -> dict[str, Any]:
    """The table of `geopurify eval`: raw, blur (alpha = 0) and purified."""
    pipeline = mapped.pipeline
    asked = TextQuery(mapped.class_names)  # all names are candidates, the reject is off
    graph = nearest_neighbors(pipeline.map.index, pipeline.map.coords(), BAND_NEIGHBORS)
    band = boundary_band(mapped.truth, graph.index, graph.mask)
    start = time.perf_counter()
    report = pipeline.purify()
    answer = pipeline.query(asked)
    seconds = time.perf_counter() - start
    blurred = _blurred(pipeline).query(asked)
    result: dict[str, Any] = {
        "sequence": sequence_name,
        "encoder": pipeline.encoder.id,
        # another type moves single figures by a point; encoder.dtype asks for one
        "encoder_dtype": dtype_name(pipeline.encoder),
        "voxel_size_m": pipeline.map.voxel_size_m,
        "num_voxels": len(pipeline.map),
        "num_labeled_voxels": int((mapped.truth > 0).sum()),
        "classes": list(mapped.class_names),
    }
    raw = answer.raw or answer.pooled  # there is one: nobody asked to leave it out
    for name, labels in (("raw", raw), ("blur", blurred.pooled),
                         ("purified", answer.purified)):
        result[name] = scores(labels.label, mapped.truth, band, mapped.class_names)
    result["entropy"] = report.entropy
    result["changed_fraction"] = answer.changed_fraction
    result["purification"] = {**dataclasses.asdict(answer.effect), "declined": answer.objection}
    medians = {name: ms / 1e3 for name, ms in pipeline.stopwatch.median_ms().items()}
    result["seconds"] = {"purify_and_query": seconds, **medians}
    return result


def _blurred(pipeline: Pipeline) -> Pipeline:
    """The same map pooled with equal weights: what smoothing alone would do."""
    settings = dataclasses.replace(
        pipeline.config.purify, affinity_scale=0.0, embedding="geometric"
    )
    config = dataclasses.replace(pipeline.config, purify=settings)
    blurred = Pipeline(pipeline.encoder, config, pipeline.device)
    blurred.replace_map(pipeline.map)
    blurred.purify()
    return blurred


def scores(
    predicted: Tensor,  # (V,) 0 .. C
    truth: Tensor,  # (V,)
    band: Tensor,  # (V,) bool
    names: tuple[str, ...],
) -> dict[str, Any]:
    """mIoU, mAcc, their foreground forms, boundary mIoU and the IoU of each class."""
    whole = class_scores(confusion_matrix(predicted, truth, len(names)), names)
    edge = class_scores(confusion_matrix(predicted[band], truth[band], len(names)), names)
    return {
        "miou": whole.miou,
        "macc": whole.macc,
        "f_miou": whole.foreground().miou,
        "f_macc": whole.foreground().macc,
        "boundary_miou": edge.miou,
        "per_class": whole.iou,
    }


def format_scores(result: dict[str, Any]) -> str:
    """The scores as a table."""
    columns = ("miou", "macc", "f_miou", "boundary_miou")
    lines = [
        "{sequence}: {num_voxels} voxels of {voxel_size_m} m, encoder {encoder} in "
        "{encoder_dtype}".format(**result),
        f"{'':10}" + "".join(f"{c:>15}" for c in columns),
    ]
    for name in ("raw", "blur", "purified"):
        lines.append(f"{name:10}" + "".join(f"{result[name][c]:15.3f}" for c in columns))
    for name, iou in result["purified"]["per_class"].items():
        lines.append(f"  {name:20} IoU raw {result['raw']['per_class'][name]:.3f} "
                     f"purified {iou:.3f}")
    return "\n".join(lines)
