"""What the map holds for each prompt, in numbers and words."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geopurify_ros.core.answers.confident import BELIEVED
from geopurify_ros.core.answers.pieces import connected_pieces, inside_position
from geopurify_ros.core.answers.query import Reasons, TextQuery, VoxelLabels

Point = tuple[float, float, float]


@dataclass(frozen=True)
class PromptAnswer:
    """What the map holds for one prompt; positions in metres, in the frame of the map.

    Attributes:
        prompt: as asked.
        found: whether one connected piece has enough voxels.
        score: mean over the largest piece: with a calibrated encoder, the probability that it is
            the prompt.
        num_voxels: that carry the label.
        num_pieces: connected pieces of them.
        best_position_m: inside the largest piece; None where there is no voxel.
        box_m: lowest and highest corner of the largest piece.
        otherwise: what the largest piece would be instead; empty where that is not known.
        nearest: what there is in place of an absent thing, "cabinet"; empty where not known.
        nearest_score: of the prompt, there.
        read_as: the text that stood for the prompt.
        label: of its voxels; that of an earlier prompt which says the same.
        is_calibrated: whether the score is a probability.
    """

    prompt: str
    found: bool
    score: float
    num_voxels: int
    num_pieces: int
    best_position_m: Point | None
    box_m: tuple[Point, Point] | None
    otherwise: str = ""
    nearest: str = ""
    nearest_score: float = 0.0
    read_as: str = ""
    label: int = 0
    is_calibrated: bool = False

    @property
    def sentence(self) -> str:
        """One line: "chair: 412 voxels in 2 pieces, score 0.81" or "no chair; nearest: ..."."""
        if self.found:
            pieces = "1 piece" if self.num_pieces == 1 else f"{self.num_pieces} pieces"
            return f"{self.prompt}: {self.num_voxels} voxels in {pieces}, score {self.score:.2f}"
        near = f"; nearest: {self.nearest} {self.nearest_score:.2f}" if self.nearest else ""
        return f"no {self.prompt}{near}"


def summarize(
    asked: TextQuery,
    labels: VoxelLabels,
    coords: Tensor,  # (V, 3) int64
    voxel_size_m: float,
) -> list[PromptAnswer]:
    """One answer per prompt."""
    return [_one(k, asked, labels, coords, voxel_size_m) for k in range(len(asked.prompts))]


def _one(
    k: int, asked: TextQuery, labels: VoxelLabels, coords: Tensor, size_m: float
) -> PromptAnswer:
    prompt, reasons = asked.prompts[k], labels.reasons
    if reasons is not None and reasons.same_as[k] != k:
        return replace(_one(reasons.same_as[k], asked, labels, coords, size_m), prompt=prompt)
    told = PromptAnswer(
        prompt, False, 0.0, 0, 0, None, None, read_as=reasons.read_as[k] if reasons else prompt,
        label=k + 1, is_calibrated=reasons is not None and reasons.is_calibrated[k],
    )  # fmt: skip
    rows = torch.nonzero(labels.label == k + 1).squeeze(1)
    piece = connected_pieces(coords[rows]) if labels.piece is None else labels.piece[rows]
    largest = rows[piece == 0]
    if len(largest) < max(1, asked.min_voxels):
        told = replace(told, num_voxels=len(rows), num_pieces=_count(piece))
        return _with_nearest(told, k, asked, reasons)
    here = coords[largest]
    best = here[inside_position(here, labels.score[largest])]
    corners = (here.min(dim=0).values, here.max(dim=0).values + 1)
    return replace(
        told, found=True, score=float(labels.score[largest].mean()), num_voxels=len(rows),
        num_pieces=_count(piece), best_position_m=_point(best, 0.5, size_m),
        box_m=(_point(corners[0], 0, size_m), _point(corners[1], 0, size_m)),
        otherwise=_mostly(reasons, largest),
    )  # fmt: skip


def _with_nearest(
    told: PromptAnswer, k: int, asked: TextQuery, reasons: Reasons | None
) -> PromptAnswer:
    if reasons is None or reasons.nearest[k][0] < 0:
        return told
    text, score = reasons.nearest[k]
    name = reasons.texts[text]
    if text == k:
        doubtful = score < max(BELIEVED, asked.threshold)
        name = f"{told.read_as}, but too {'doubtful' if doubtful else 'small'}"
    return replace(told, nearest=name, nearest_score=score)


def _mostly(reasons: Reasons | None, rows: Tensor) -> str:
    """What most voxels would be instead."""
    if reasons is None:
        return ""
    known = reasons.otherwise[rows]
    known = known[known >= 0]
    return reasons.texts[int(torch.mode(known).values)] if len(known) else ""


def _count(piece: Tensor) -> int:
    return int(piece.max()) + 1 if len(piece) else 0


def _point(coords: Tensor, offset: float, size_m: float) -> Point:
    x, y, z = ((coords.to(torch.float64) + offset) * size_m).tolist()
    return x, y, z
