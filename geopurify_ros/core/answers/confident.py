"""Labels that can be trusted: a lead over all alternatives, and enough of it in one piece.

A voxel may carry a prompt whose score reaches the threshold. A connected piece of such voxels
counts where the prompt beats every rival on enough voxels, for a thing of its kind, and where its
best voxel is more likely the prompt than not; other pieces are "not there". So a thing grows to
its borders from where it is beyond doubt, and doubt alone makes no thing (hysteresis, as in Canny
1986).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.answers.leads import LeadMaker, lead_of, probability
from geopurify_ros.core.answers.logits import LogitChunks
from geopurify_ros.core.answers.pieces import connected_pieces
from geopurify_ros.core.answers.query import NOT_THERE, Reasons, TextQuery, VoxelLabels
from geopurify_ros.core.answers.question import Rivals

BELIEVED = 0.5  # score that the best voxel of a piece must reach
LEAST_SCORE = 0.1  # below, nothing grows, whatever the threshold


@dataclass(frozen=True)
class _Prospects:
    """Of all V voxels, before pieces are looked at.

    Attributes:
        prompt: (V,) int64, the best prompt.
        lead: (V,) float32 of it, in logits.
        later: the same without its heads.
        rival: (V,) int64, number of the text that it leads over; -1 where it does not matter.
        nearest: per prompt, (number of the winning text, lead) where its lead is the largest.
    """

    prompt: Tensor
    lead: Tensor
    later: Tensor
    rival: Tensor
    nearest: list[tuple[int, float]]


def confident_labels(
    chunks: LogitChunks,  # (R, L + A) at a time
    asked: TextQuery,
    rivals: Rivals,
    coords: Tensor,  # (V, 3) int64
) -> VoxelLabels:
    """Labels and scores of all voxels of a map."""
    threshold = max(asked.threshold, LEAST_SCORE)
    floor = lead_of(threshold, rivals.profile)
    found = _prospects(chunks, rivals, len(coords), coords.device, floor)
    score = probability(found.lead, rivals.profile)
    label = torch.full_like(found.prompt, NOT_THERE)
    is_calibrated = [rivals.profile.is_calibrated] * len(rivals.least_voxels)
    for k, least in enumerate(rivals.least_voxels):
        mine = found.prompt == k
        for lead in (found.lead, found.later) if rivals.has_second_try else (found.lead,):
            chance = probability(lead, rivals.profile)
            rows = torch.nonzero(mine & (chance >= threshold)).squeeze(1)
            rows = rows[_is_believed(coords[rows], lead[rows], chance[rows], least)]
            if len(rows):
                label[rows], score[rows] = k + 1, chance[rows]
                # without its heads a prompt scores what nobody measured
                is_calibrated[k] &= lead is found.lead
                break
    chances = [float(probability(torch.tensor(lead), rivals.profile)) for _, lead in found.nearest]
    return VoxelLabels(label, score, Reasons(
        (*asked.prompts, *rivals.names), found.rival,
        tuple((text, chance) for (text, _), chance in zip(found.nearest, chances, strict=True)),
        tuple(reading.text for reading in rivals.readings), rivals.same_as,
        tuple(is_calibrated),
    ))  # fmt: skip


def _is_believed(coords: Tensor, lead: Tensor, chance: Tensor, least: int) -> Tensor:
    """Which of N voxels lie in a piece that counts: (N,) bool."""
    piece = connected_pieces(coords)
    size = int(piece.max()) + 1 if len(piece) else 0
    wins = torch.zeros(size, dtype=torch.int64, device=coords.device)
    wins.index_add_(0, piece, (lead > 0).to(torch.int64))
    best = torch.zeros(size, device=coords.device).scatter_reduce_(0, piece, chance, "amax")
    return ((wins >= least) & (best >= BELIEVED))[piece]


def _prospects(
    chunks: LogitChunks, rivals: Rivals, count: int, device: torch.device, floor: float
) -> _Prospects:
    """`floor`: lead from which a voxel may carry a label, and its rival is looked up."""
    first = LeadMaker(rivals.spared, rivals.counting)
    second = LeadMaker(rivals.spared_later, rivals.counting)
    num = len(rivals.least_voxels)
    prompt = torch.zeros(count, dtype=torch.int64, device=device)
    rival = torch.full_like(prompt, -1)
    lead = torch.zeros(count, device=device)
    later = torch.zeros(count, device=device) if rivals.has_second_try else lead
    nearest: list[tuple[int, float]] = [(-1, -torch.inf)] * num
    for rows, logits in chunks:
        leads, prompts = first.of(logits)
        best = prompts.argmax(dim=1, keepdim=True)
        prompt[rows] = best.squeeze(1)
        lead[rows] = leads.gather(1, best).squeeze(1)
        if rivals.has_second_try:
            later[rows] = second.of(logits)[0].gather(1, best).squeeze(1)
        close = torch.nonzero(later[rows] >= floor).squeeze(1)
        rival[rows][close] = first.rival(logits[close], prompt[rows][close])
        nearest = _nearer(nearest, first, logits, leads)
    return _Prospects(prompt, lead, later, rival, nearest)


def _nearer(
    before: list[tuple[int, float]], maker: LeadMaker, logits: Tensor, leads: Tensor
) -> list[tuple[int, float]]:
    """The better prospects of each prompt: those of before, or of these voxels."""
    top, row = leads.max(dim=0)
    itself = torch.arange(len(top), device=top.device)
    winner = torch.where(top > 0, itself, maker.rival(logits[row], itself))
    here = zip(winner.tolist(), top.tolist(), strict=True)
    return [max(pair, key=lambda one: one[1]) for pair in zip(before, here, strict=True)]
