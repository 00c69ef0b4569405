"""A query as the map is asked it: texts as vectors, and who rivals whom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geopurify_ros.core.answers.alternatives import Alternatives, Reading
from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.answers.texts import EncodedTexts, encode_texts
from geopurify_ros.core.mapping.encoder import AnswerProfile, ImageTextEncoder, Profiled
from geopurify_ros.core.purification.encoder_side import EncoderSide

# Where neither the user nor the encoder says what else there could be
USUAL_NEGATIVES = ("wall", "floor", "ceiling", "object", "background")
_LEAST_SHARE = 0.2  # of the surface that a thing of a name usually shows
_UNKNOWN_AREA_M2 = 0.075  # the least surface of a thing whose size is not known


@dataclass(frozen=True)
class Rivals:
    """Alternatives to the L prompts of a query.

    Attributes:
        names: of the A alternatives.
        spared: (L, A) bool, those that are no rivals of a prompt.
        spared_later: (L, A) bool, the same once a prompt was not found with its heads.
        counting: (L, A) bool, kinds of a prompt, which count for it.
        readings: of the prompts.
        same_as: per prompt, the number of the first one that is read alike and answers for it.
        least_voxels: per prompt, what a thing of it must at least consist of.
        profile: what is known of the names.
    """

    names: tuple[str, ...]
    spared: Tensor
    spared_later: Tensor
    counting: Tensor
    readings: tuple[Reading, ...]
    same_as: tuple[int, ...]
    least_voxels: tuple[int, ...]
    profile: AnswerProfile

    @cached_property
    def has_second_try(self) -> bool:
        """Whether any prompt has heads."""
        return bool((self.spared != self.spared_later).any())


@dataclass(frozen=True)
class Question:
    """What is asked, in vectors.

    Attributes:
        asked: by the user.
        texts: prompts, then alternatives or negatives.
        rivals: where the alternatives are the encoder's vocabulary; None: a list of negatives.
    """

    asked: TextQuery
    texts: EncodedTexts
    rivals: Rivals | None


class Asking:
    """Makes questions for one encoder; it keeps what it worked out about the vocabulary."""

    def __init__(self, encoder: ImageTextEncoder, device: torch.device) -> None:
        """For maps on `device`."""
        self._encoder, self._device = encoder, device
        self._profile = encoder.answer_profile if isinstance(encoder, Profiled) else (
            AnswerProfile())  # fmt: skip
        self._known: Alternatives | None = None

    def question(self, asked: TextQuery, knows: EncoderSide, voxel_size_m: float) -> Question:
        """`knows`: the vocabulary, which is encoded if that has not happened yet."""
        vectors = knows.vocabulary if asked.negatives is None else None
        if vectors is None:
            plain = asked.with_negatives(USUAL_NEGATIVES) if asked.negatives is None else asked
            return Question(plain, encode_texts(self._encoder, plain.texts, self._device), None)
        typed = encode_texts(self._encoder, asked.prompts, self._device)
        readings = self._readings(asked, typed, knows.names, vectors)
        # names that are no rivals of some prompt first: see LeadMaker
        spared = frozenset().union(*(one.spared | one.heads for one in readings))
        order = sorted(range(len(knows.names)), key=lambda k: knows.names[k] not in spared)
        names, vectors = tuple(knows.names[k] for k in order), vectors[order]
        said = [one.text for one in readings]
        same_as = tuple(said.index(text) for text in said)
        # of two prompts that are read alike only the first one competes
        repeats = typed.is_unreadable.new_tensor([k != one for k, one in enumerate(same_as)])
        texts = EncodedTexts(
            torch.cat((self._prompts(readings, typed, names, vectors), vectors)),
            torch.cat((typed.is_unreadable | repeats,
                       typed.is_unreadable.new_zeros(len(names)))),
            typed.logit_scale, typed.has_gaps or bool(repeats.any()),
        )  # fmt: skip
        least = (self._least(one, asked.min_voxels, voxel_size_m) for one in readings)
        kinds = [one.spared - {one.name, *said} if same_as[k] == k else frozenset()
                 for k, one in enumerate(readings)]  # fmt: skip
        return Question(asked, texts, Rivals(
            names, _mask([one.spared for one in readings], names, self._device),
            _mask([one.spared | one.heads for one in readings], names, self._device),
            _mask(kinds, names, self._device), readings,
            same_as, tuple(least), self._profile,
        ))  # fmt: skip

    @staticmethod
    def _prompts(
        readings: tuple[Reading, ...], typed: EncodedTexts, names: tuple[str, ...], vectors: Tensor
    ) -> Tensor:  # (L, D)
        """A prompt that says the same as a name has the vector of the name."""
        made = typed.vectors.clone()
        for k, reading in enumerate(readings):
            if reading.text in names:
                made[k] = vectors[names.index(reading.text)]
        return made

    def _readings(
        self, asked: TextQuery, typed: EncodedTexts, names: tuple[str, ...], vectors: Tensor
    ) -> tuple[Reading, ...]:
        if self._known is None:
            profile = self._profile
            self._known = Alternatives(names, profile.synonyms, profile.same_similarity)
        known = self._known
        likeness = (typed.vectors @ vectors.T).tolist()
        return tuple(
            known.read(prompt, dict(zip(names, row, strict=True)))
            for prompt, row in zip(asked.prompts, likeness, strict=True)
        )

    def _least(self, reading: Reading, min_voxels: int, voxel_size_m: float) -> int:
        area_m2 = self._profile.areas_m2.get(reading.name)
        least_m2 = _UNKNOWN_AREA_M2 if area_m2 is None else _LEAST_SHARE * area_m2
        return max(min_voxels, round(least_m2 / voxel_size_m**2))


def _mask(
    spared: list[frozenset[str]], names: tuple[str, ...], device: torch.device
) -> Tensor:  # (L, A) bool
    rows = [[name in one for name in names] for one in spared]
    return torch.tensor(rows, dtype=torch.bool, device=device).reshape(len(spared), len(names))
