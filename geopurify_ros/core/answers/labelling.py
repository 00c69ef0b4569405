"""The answer to a query: labels of all voxels, purified, and raw where they are needed."""

from __future__ import annotations

import torch
from torch import Tensor

from geopurify_ros.config import PurifyConfig
from geopurify_ros.core.answers.answer import Answer
from geopurify_ros.core.answers.logits import LogitChunks, purified_logits, raw_logits
from geopurify_ros.core.answers.query import TextQuery, VoxelLabels, label_voxels
from geopurify_ros.core.answers.texts import EncodedTexts
from geopurify_ros.core.mapping.lifted_map import LiftedMap
from geopurify_ros.core.purification.gate import effect_of, objection
from geopurify_ros.core.purification.purified import Purified


def labelled(chunks: LogitChunks, asked: TextQuery, num_voxels: int, device: torch.device
             ) -> VoxelLabels:  # fmt: skip
    """Labels of all voxels, whose logits come some rows at a time."""
    made = _no_labels(num_voxels, device)
    for rows, logits in chunks:
        part = label_voxels(logits, asked)
        made.label[rows], made.score[rows] = part.label, part.score
    return made


def answered(
    lifted: LiftedMap,
    purified: Purified | None,
    texts: EncodedTexts,
    asked: TextQuery,
    settings: PurifyConfig,
    with_raw: bool,
) -> Answer:
    """Label every voxel; see `Pipeline.query`."""
    count, device = len(lifted.voxels), lifted.voxels.device
    if purified is None:  # nothing is purified yet
        raw = labelled(raw_logits(lifted, texts), asked, count, device)
        return Answer(raw, raw)
    if purified.effect is None:
        return _gated_by_query(lifted, purified, texts, asked, settings)
    pooled = labelled(purified_logits(purified, lifted, texts), asked, count, device)
    if not (with_raw or purified.objection):
        return Answer(None, pooled, purified.effect)
    raw = labelled(raw_logits(lifted, texts), asked, count, device)
    return Answer(raw, pooled, purified.effect, purified.objection)


def _gated_by_query(
    lifted: LiftedMap, purified: Purified, texts: EncodedTexts, asked: TextQuery,
    settings: PurifyConfig,
) -> Answer:  # fmt: skip
    """Without a vocabulary the gate (5.1) looks at the best of the texts that are asked for."""
    raw, best_raw = _with_best(raw_logits(lifted, texts), asked, lifted)
    pooled, best = _with_best(purified_logits(purified, lifted, texts), asked, lifted)
    effect = effect_of(best_raw, best, purified.affinity, purified.entropy)
    return Answer(raw, pooled, effect, objection(effect, settings))


def _with_best(
    chunks: LogitChunks, asked: TextQuery, lifted: LiftedMap
) -> tuple[VoxelLabels, Tensor]:
    """Labels, and the best text of each voxel (V,) whether or not it reaches the threshold."""
    count, device = len(lifted.voxels), lifted.voxels.device
    best = torch.zeros(count, dtype=torch.int64, device=device)

    def noted() -> LogitChunks:
        for rows, logits in chunks:
            best[rows] = logits.argmax(dim=1)
            yield rows, logits

    return labelled(noted(), asked, count, device), best


def _no_labels(num_voxels: int, device: torch.device) -> VoxelLabels:
    label = torch.zeros(num_voxels, dtype=torch.int64, device=device)
    return VoxelLabels(label, torch.zeros(num_voxels, device=device))
