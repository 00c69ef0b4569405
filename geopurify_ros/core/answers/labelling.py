"""The answer to a question: labels of all voxels, purified, and raw where they are needed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from geopurify_ros.config import PurifyConfig
from geopurify_ros.core.answers.answer import Answer
from geopurify_ros.core.answers.confident import confident_labels, new_prospects
from geopurify_ros.core.answers.logits import (
    LogitChunks,
    purified_logits,
    purified_state,
    raw_logits,
    raw_state,
)
from geopurify_ros.core.answers.query import VoxelLabels, label_voxels
from geopurify_ros.core.answers.question import Question
from geopurify_ros.core.answers.standing import Kept, Standing
from geopurify_ros.core.mapping.lifted_map import LiftedMap
from geopurify_ros.core.purification.gate import effect_of, objection
from geopurify_ros.core.purification.purified import Purified


def labelled(chunks: LogitChunks, question: Question, lifted: LiftedMap) -> VoxelLabels:
    """Labels of all voxels, whose logits come some rows at a time."""
    count, device = len(lifted.voxels), lifted.voxels.device
    if question.rivals is not None:
        found = new_prospects(question.asked, question.rivals, device)
        found.update(chunks, count)
        return confident_labels(found, question.asked, question.rivals, lifted.voxels.coords())
    label = torch.zeros(count, dtype=torch.int64, device=device)
    score = torch.zeros(count, device=device)
    for rows, logits in chunks:
        part = label_voxels(logits, question.asked)
        label[rows], score[rows] = part.label, part.score
    return VoxelLabels(label, score)


def answered(
    lifted: LiftedMap,
    purified: Purified | None,
    standing: Standing,
    settings: PurifyConfig,
    with_raw: bool,
) -> Answer:
    """Label every voxel; see `Pipeline.query`."""
    if purified is None:  # nothing is purified yet
        raw = _raw(lifted, standing)
        return Answer(raw, raw)
    if purified.effect is None:
        return _gated_by_query(lifted, purified, standing.question, settings)
    pooled = _pooled(lifted, purified, standing)
    if not (with_raw or purified.objection):
        return Answer(None, pooled, purified.effect)
    return Answer(_raw(lifted, standing), pooled, purified.effect, purified.objection)


def _raw(lifted: LiftedMap, standing: Standing) -> VoxelLabels:
    question, texts = standing.question, standing.question.texts
    if question.rivals is None:
        return labelled(raw_logits(lifted, texts), question, lifted)
    return _kept_labels(
        standing.raw, raw_state(lifted), lifted.voxels,
        lambda blocks: raw_logits(lifted, texts, only=blocks), question, lifted,
    )  # fmt: skip


def _pooled(lifted: LiftedMap, purified: Purified, standing: Standing) -> VoxelLabels:
    question, texts = standing.question, standing.question.texts
    if question.rivals is None:
        return labelled(purified_logits(purified, lifted, texts), question, lifted)
    return _kept_labels(
        standing.pooled, purified_state(purified, lifted), purified,
        lambda blocks: purified_logits(purified, lifted, texts, blocks), question, lifted,
    )  # fmt: skip


def _kept_labels(
    kept: Kept, state: Tensor, owner: object,
    logits_of: Callable[[frozenset[int]], LogitChunks], question: Question, lifted: LiftedMap,
) -> VoxelLabels:  # fmt: skip
    """As `labelled`, of the blocks that changed; the others are as they were."""
    assert question.rivals is not None
    blocks = kept.outdated(state, owner)
    try:
        kept.prospects.update(logits_of(frozenset(blocks)), len(lifted.voxels), blocks)
    except BaseException:
        kept.forget()
        raise
    return confident_labels(
        kept.prospects, question.asked, question.rivals, lifted.voxels.coords()
    )


def _gated_by_query(
    lifted: LiftedMap, purified: Purified, question: Question, settings: PurifyConfig
) -> Answer:
    """Without a vocabulary the gate (5.1) looks at the best of the texts that are asked for."""
    texts = question.texts
    raw, best_raw = _with_best(raw_logits(lifted, texts), question, lifted)
    pooled, best = _with_best(purified_logits(purified, lifted, texts), question, lifted)
    effect = effect_of(best_raw, best, purified.affinity, purified.entropy)
    return Answer(raw, pooled, effect, objection(effect, settings))


def _with_best(
    chunks: LogitChunks, question: Question, lifted: LiftedMap
) -> tuple[VoxelLabels, Tensor]:
    """Labels, and the best text of each voxel (V,) whether or not it reaches the threshold."""
    count, device = len(lifted.voxels), lifted.voxels.device
    best = torch.zeros(count, dtype=torch.int64, device=device)

    def noted() -> LogitChunks:
        for rows, logits in chunks:
            best[rows] = logits.argmax(dim=1)
            yield rows, logits

    return labelled(noted(), question, lifted), best
