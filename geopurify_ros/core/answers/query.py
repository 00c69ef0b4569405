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
AUTO = "auto"  # negatives: the vocabulary of the encoder
MAX_NEGATIVES = 1000  # beside the prompts, which query.max_prompts limits


@dataclass(frozen=True)
class TextQuery:
    """What is asked.

    Attributes:
        prompts: active prompts, distinct.
        negatives: what else a voxel may be; never among the prompts. None: whatever the encoder's
            vocabulary names, see `alternatives`.
        threshold: lowest score of a labelled voxel; with listed negatives 0 labels every voxel
            that none of them wins.
        min_voxels: of the largest connected piece of a thing that is found.
    """

    prompts: tuple[str, ...]
    negatives: tuple[str, ...] | None = ()
    threshold: float = 0.0
    min_voxels: int = 1

    @property
    def texts(self) -> tuple[str, ...]:
        """Prompts, then the negatives that are listed: the columns of the scores."""
        return self.prompts + (self.negatives or ())

    def with_negatives(self, negatives: tuple[str, ...]) -> TextQuery:
        """The same with other negatives, without those that are asked for."""
        return make_query(self.prompts, negatives, self.threshold, self.min_voxels)


@dataclass(frozen=True)
class VoxelLabels:
    """The answer per voxel.

    Attributes:
        label: (V,) int64, 0 = not there, i = the i-th prompt.
        score: (V,) float32, 0..1, of the label (of the best prompt where the label is 0).
        reasons: what else the voxels could be; None for a query with listed negatives.
        piece: (V,) int32, number of the connected piece of its label that a voxel is in, the
            largest first; -1 without a label. None: not looked for yet.
    """

    label: Tensor
    score: Tensor
    reasons: Reasons | None = None
    piece: Tensor | None = None


@dataclass(frozen=True)
class Reasons:
    """Why the labels are what they are.

    Attributes:
        texts: all that was compared.
        otherwise: (V,) int64, number of the text that a voxel would be instead of its best prompt;
            -1 where that prompt is out of the question.
        nearest: per prompt, (number of the text that wins, score of the prompt) at the voxel where
            the prompt has the best prospects.
        read_as: per prompt, the text that stood for it.
        same_as: per prompt, the number of the first prompt that says the same and answers for it.
        is_calibrated: per prompt, whether scores are probabilities, measured on validation rooms.
    """

    texts: tuple[str, ...]
    otherwise: Tensor
    nearest: tuple[tuple[int, float], ...]
    read_as: tuple[str, ...]
    same_as: tuple[int, ...]
    is_calibrated: tuple[bool, ...]


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


def parse_negatives(text: str) -> tuple[str, ...] | None:
    """The distinct negatives of "wall, floor"; none of an empty text, None of "auto".

    Raises:
        InputError: nothing but spaces and commas, or too much.
    """
    return check_negatives(list(parse_prompts(text, MAX_NEGATIVES))) if text.strip() else ()


def check_negatives(texts: list[str]) -> tuple[str, ...] | None:
    """The same of texts that are parted already.

    Raises:
        InputError: nothing but spaces, too much, or "auto" beside others.
    """
    negatives = check_prompts(texts, MAX_NEGATIVES)
    if AUTO not in (one.casefold() for one in negatives):
        return negatives
    if len(negatives) > 1:
        raise InputError("the negative 'auto' stands alone: it is all that the encoder can name")
    return None


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
    prompts: tuple[str, ...], negatives: tuple[str, ...] | None, threshold: float,
    min_voxels: int = 1,
) -> TextQuery:  # fmt: skip
    """A query whose negatives leave out what is asked for (also as a word of a prompt)."""
    if negatives is None:
        return TextQuery(prompts, None, threshold, min_voxels)
    asked = {word for p in prompts for word in (p.lower(), *p.lower().split())}
    rest = tuple(n for n in negatives if n.lower() not in asked)
    return TextQuery(prompts, rest, threshold, min_voxels)


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
