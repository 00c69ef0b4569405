"""Labels that can be trusted: a lead over all alternatives, and enough of it in one piece.

A voxel may carry a prompt whose score reaches the threshold. A connected piece of such voxels
counts where the prompt beats every rival on enough voxels, for a thing of its kind, and where its
best voxel is more likely the prompt than not; other pieces are "not there". So a thing grows to
its borders from where it is beyond doubt, and doubt alone makes no thing (hysteresis, as in Canny
1986).
"""

from __future__ import annotations

import torch
from torch import Tensor

from geopurify_ros.core.answers.leads import LeadMaker, lead_of, probability
from geopurify_ros.core.answers.logits import BLOCK_ROWS, LogitChunks
from geopurify_ros.core.answers.pieces import connected_pieces
from geopurify_ros.core.answers.query import NOT_THERE, Reasons, TextQuery, VoxelLabels
from geopurify_ros.core.answers.question import Rivals

BELIEVED = 0.5  # score that the best voxel of a piece must reach
LEAST_SCORE = 0.1  # below, nothing grows, whatever the threshold


class Prospects:
    """Of all V voxels, before pieces are looked at; kept block by block between answers."""

    prompt: Tensor  # (V,) int16, the best prompt
    lead: Tensor  # (V,) float32 of it, in logits
    later: Tensor  # the same without its heads
    rival: Tensor  # (V,) int16, text that it leads over; -1 where it does not matter

    def __init__(self, rivals: Rivals, floor: float, device: torch.device) -> None:
        """None yet; `floor` is the lead from which a voxel may carry a label."""
        self._has_second_try, self._floor = rivals.has_second_try, floor
        self._first = LeadMaker(rivals.spared, rivals.counting)
        self._second = LeadMaker(rivals.spared_later, rivals.counting)
        self.prompt = torch.zeros(0, dtype=torch.int16, device=device)
        self.rival, self.lead = self.prompt, torch.zeros(0, device=device)
        self.later = self.lead
        # of each block and prompt, (blocks, L): the largest lead, and the text that wins there
        self._top = torch.zeros((0, len(rivals.least_voxels)), device=device)
        self._winner = torch.zeros(self._top.shape, dtype=torch.int64, device=device)

    def update(self, chunks: LogitChunks, count: int, blocks: list[int] | None = None) -> None:
        """Look at logits anew, of all `count` voxels or of those of some blocks."""
        number = -(-count // BLOCK_ROWS)
        self.prompt, self.rival, self.lead, self.later = (
            _of_length(held, count) for held in (self.prompt, self.rival, self.lead, self.later)
        )
        self._top, self._winner = (_of_length(held, number) for held in (self._top, self._winner))
        self._top[slice(None) if blocks is None else blocks] = -torch.inf
        for rows, logits in chunks:
            self._note(rows, logits)

    def _note(self, rows: slice, logits: Tensor) -> None:
        leads, prompts = self._first.of(logits)
        best = prompts.argmax(dim=1, keepdim=True)
        lead = later = leads.gather(1, best).squeeze(1)
        if self._has_second_try:
            later = self._second.of(logits)[0].gather(1, best).squeeze(1)
        prompt = best.squeeze(1)
        rival = torch.full_like(prompt, -1)
        close = torch.nonzero(later >= self._floor).squeeze(1)
        rival[close] = self._first.rival(logits[close], prompt[close])
        self.prompt[rows], self.lead[rows] = prompt.to(torch.int16), lead
        self.later[rows], self.rival[rows] = later, rival.to(torch.int16)
        top, row = leads.max(dim=0)
        itself = torch.arange(len(top), device=top.device)
        winner = torch.where(top > 0, itself, self._first.rival(logits[row], itself))
        number = rows.start // BLOCK_ROWS
        is_more = top > self._top[number]
        self._top[number] = torch.where(is_more, top, self._top[number])
        self._winner[number] = torch.where(is_more, winner, self._winner[number])

    @property
    def nearest(self) -> list[tuple[int, float]]:
        """Per prompt, (number of the winning text, lead) where its lead is the largest."""
        if not len(self._top):
            return [(-1, -torch.inf)] * self._top.shape[1]
        top, block = self._top.max(dim=0)
        winner = self._winner.gather(0, block[None]).squeeze(0)
        return [(text if lead > -torch.inf else -1, lead)
                for text, lead in zip(winner.tolist(), top.tolist(), strict=True)]


def _of_length(held: Tensor, count: int) -> Tensor:
    if len(held) >= count:
        return held[:count]
    return torch.cat((held, held.new_zeros((count - len(held), *held.shape[1:]))))


def new_prospects(asked: TextQuery, rivals: Rivals, device: torch.device) -> Prospects:
    """For the voxels of a map."""
    return Prospects(rivals, lead_of(max(asked.threshold, LEAST_SCORE), rivals.profile), device)


def confident_labels(
    found: Prospects,
    asked: TextQuery,
    rivals: Rivals,
    coords: Tensor,  # (V, 3) int
) -> VoxelLabels:
    """Labels and scores of all voxels of a map."""
    threshold = max(asked.threshold, LEAST_SCORE)
    score = probability(found.lead, rivals.profile)
    chances = [(score, found.lead)]
    if rivals.has_second_try:
        chances.append((probability(found.later, rivals.profile), found.later))
    label = torch.full_like(found.prompt, NOT_THERE, dtype=torch.int64)
    is_calibrated = [rivals.profile.is_calibrated] * len(rivals.least_voxels)
    score, pieces = score.clone(), torch.full_like(found.prompt, -1, dtype=torch.int32)
    for k, least in enumerate(rivals.least_voxels):
        mine = found.prompt == k
        for chance, lead in chances:
            rows = torch.nonzero(mine & (chance >= threshold)).squeeze(1)
            piece = connected_pieces(coords[rows])
            believed = _is_believed(piece, lead[rows], chance[rows], least)
            rows = rows[believed]
            if len(rows):
                label[rows], score[rows] = k + 1, chance[rows]
                numbers = torch.unique(piece[believed], return_inverse=True)[1]
                pieces[rows] = numbers.to(torch.int32)
                # without its heads a prompt scores what nobody measured
                is_calibrated[k] &= lead is found.lead
                break
    nearest = tuple(
        (text, float(probability(torch.tensor(lead), rivals.profile)))
        for text, lead in found.nearest
    )
    return VoxelLabels(label, score, Reasons(
        (*asked.prompts, *rivals.names), found.rival.to(torch.int64), nearest,
        tuple(reading.text for reading in rivals.readings), rivals.same_as,
        tuple(is_calibrated),
    ), pieces)  # fmt: skip


def _is_believed(piece: Tensor, lead: Tensor, chance: Tensor, least: int) -> Tensor:
    """Which of N voxels lie in a piece that counts: (N,) bool."""
    size = int(piece.max()) + 1 if len(piece) else 0
    wins = torch.zeros(size, dtype=torch.int64, device=piece.device)
    wins.index_add_(0, piece, (lead > 0).to(torch.int64))
    best = torch.zeros(size, device=piece.device).scatter_reduce_(0, piece, chance, "amax")
    return ((wins >= least) & (best >= BELIEVED))[piece]
