"""Text to labels: prompts, negatives and a "not there" answer."""

from __future__ import annotations

import csv
from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.errors import InputError

NOT_THERE = 0  # label of a voxel that is none of the prompts; prompt i has label i + 1
MAX_PROMPT_LENGTH = 200  # characters; text towers cut longer ones without a word
_QUOTES = str.maketrans("“”„", '"' * 3)
MAX_NEGATIVES = 1000  # beside the prompts, which query.max_prompts limits


@dataclass(frozen=True)
class TextQuery:
    """What is asked.

    Attributes:
        prompts: active prompts, distinct.
        negatives: what else a voxel may be; never among the prompts.
        threshold: lowest score of a labelled voxel; 0 labels every voxel that no negative wins.
    """

    prompts: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    threshold: float = 0.0

    @property
    def texts(self) -> tuple[str, ...]:
        """Prompts, then negatives: the columns of the scores."""
        return self.prompts + self.negatives


@dataclass(frozen=True)
class VoxelLabels:
    """The answer per voxel.

    Attributes:
        label: (V,) int64, 0 = not there, i = the i-th prompt.
        score: (V,) float32, 0..1, of the label (of the best prompt where the label is 0).
    """

    label: Tensor
    score: Tensor


def parse_prompts(text: str, max_prompts: int) -> tuple[str, ...]:
    """The distinct prompts of "chair, table"; spaces and empty entries fall away.

    Double quotes keep commas inside a prompt: '"a small, round table", chair'.

    Raises:
        InputError: nothing is left, or too much.
    """
    return check_prompts(_split(text), max_prompts)


def _split(text: str) -> list[str]:
    plain = " ".join(text.translate(_QUOTES).split())  # a line break is a space, here too
    if plain.count('"') % 2:
        return plain.split(",")  # inches, or a slip
    return next(csv.reader([plain], skipinitialspace=True), [])


def parse_negatives(text: str) -> tuple[str, ...]:
    """The distinct negatives of "wall, floor"; none of an empty text.

    Raises:
        InputError: nothing but spaces and commas, or too much.
    """
    return parse_prompts(text, MAX_NEGATIVES) if text else ()


def check_prompts(texts: list[str], max_prompts: int) -> tuple[str, ...]:
    """Distinct, stripped prompts in order; control characters become spaces."""
    cleaned = [" ".join("".join(c if c.isprintable() else " " for c in t).split()) for t in texts]
    distinct: dict[str, str] = {}
    for prompt in filter(None, cleaned):
        # "Chair, chair" is one prompt: as two they would share its score
        distinct.setdefault(prompt.casefold(), prompt)
    prompts = tuple(distinct.values())
    if not prompts:
        raise InputError('the query is empty: send one or more names, as in "chair, table"')
    if len(prompts) > max_prompts:
        raise InputError(
            f"the query has {len(prompts)} prompts, at most {max_prompts} are allowed"
        )
    for prompt in prompts:
        if len(prompt) > MAX_PROMPT_LENGTH:
            raise InputError(
                f"the prompt '{prompt[:30]}...' has {len(prompt)} characters, "
                f"at most {MAX_PROMPT_LENGTH} are allowed"
            )
    return prompts


def make_query(
    prompts: tuple[str, ...], negatives: tuple[str, ...], threshold: float
) -> TextQuery:
    """A query whose negatives leave out what is asked for (also as a word of a prompt)."""
    asked = {word for p in prompts for word in (p.lower(), *p.lower().split())}
    return TextQuery(prompts, tuple(n for n in negatives if n.lower() not in asked), threshold)


def label_voxels(
    logits: Tensor,  # (R, L + N), prompts first; -inf: a text that is out of the question
    query: TextQuery,
) -> VoxelLabels:
    """Soft-max over prompts and negatives; 0 where a negative wins or the score is too low."""
    prompts, negatives = logits.tensor_split([len(query.prompts)], dim=1)
    best, best_prompt = prompts.max(dim=1)
    probabilities = torch.softmax(logits, dim=1)[:, : len(query.prompts)]
    score = probabilities.amax(dim=1).nan_to_num(0.0)
    there = (score >= query.threshold) & (score > 0)
    if query.negatives:
        there &= best >= negatives.amax(dim=1)
    return VoxelLabels(torch.where(there, best_prompt + 1, NOT_THERE), score)


@dataclass(frozen=True)
class PromptAnswer:
    """What the map holds for one prompt; `best_position_m` is None when there is no voxel."""

    prompt: str
    found: bool
    score: float
    num_voxels: int
    best_position_m: tuple[float, float, float] | None


def summarize(
    query: TextQuery,
    labels: VoxelLabels,
    centers_m: Tensor,  # (V, 3) float64
    min_voxels: int,
) -> list[PromptAnswer]:
    """One answer per prompt: found when at least `min_voxels` voxels carry its label."""
    return [
        _summarize_one(prompt, number + 1, labels, centers_m, min_voxels)
        for number, prompt in enumerate(query.prompts)
    ]


def _summarize_one(
    prompt: str, label: int, labels: VoxelLabels, centers_m: Tensor, min_voxels: int
) -> PromptAnswer:
    rows = torch.nonzero(labels.label == label).squeeze(1)
    if len(rows) == 0:
        return PromptAnswer(prompt, False, 0.0, 0, None)
    best = rows[labels.score[rows].argmax()]
    x, y, z = centers_m[best].tolist()
    found = len(rows) >= min_voxels
    return PromptAnswer(prompt, found, float(labels.score[best]), len(rows), (x, y, z))
