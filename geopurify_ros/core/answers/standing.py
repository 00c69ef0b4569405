"""Questions that are asked again and again: only what changed since is looked at anew."""

from __future__ import annotations

import weakref
from collections import OrderedDict

import torch
from torch import Tensor

from geopurify_ros.core.answers.confident import Prospects, new_prospects
from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.answers.question import Asking, Question
from geopurify_ros.core.mapping.encoder import ImageTextEncoder
from geopurify_ros.core.purification.encoder_side import EncoderSide

_MOST_QUESTIONS = 2  # that are remembered, for 12 bytes a voxel: the active one and another


class Kept:
    """What is known of the voxels of one map for one question, and which state that is of."""

    def __init__(self, prospects: Prospects) -> None:
        """Nothing yet."""
        self.prospects = prospects
        self._owner: weakref.ref[object] | None = None  # it may be most of a gigabyte
        self._state: Tensor | None = None

    def outdated(self, state: Tensor, owner: object) -> list[int]:
        """Numbers of the blocks to look at, which count as known from now on.

        Args:
            state: (blocks, N), see `logits`.
            owner: what the state is of; all of another one's blocks are outdated.
        """
        is_same = self._owner is not None and self._owner() is owner
        old = self._state if is_same else None
        self._owner, self._state = weakref.ref(owner), state
        if old is None:
            return list(range(len(state)))
        differs = torch.ones(len(state), dtype=torch.bool, device=state.device)
        both = min(len(old), len(state))
        differs[:both] = (old[:both] != state[:both]).any(dim=1)
        found: list[int] = torch.nonzero(differs).squeeze(1).tolist()
        return found

    def forget(self) -> None:
        """Nothing is known any more: an answer was not finished."""
        self._state = None


class Standing:
    """A question, and what its last answers found, raw and pooled."""

    def __init__(self, question: Question, device: torch.device) -> None:
        """Not answered yet."""
        self.question = question
        rivals = question.rivals
        if rivals is not None:
            self.raw, self.pooled = (
                Kept(new_prospects(question.asked, rivals, device)) for _ in range(2)
            )


class StandingQuestions:
    """The last questions that were asked of a pipeline."""

    def __init__(self, encoder: ImageTextEncoder, device: torch.device) -> None:
        """For maps on `device`."""
        self._asking, self._encoder, self._device = Asking(encoder, device), encoder, device
        self._known: OrderedDict[tuple[TextQuery, bool, float, float], Standing] = OrderedDict()

    def of(self, asked: TextQuery, knows: EncoderSide, voxel_size_m: float) -> Standing:
        """A question, perhaps an old one; see `Asking.question`."""
        has_names = asked.negatives is None and knows.vocabulary is not None
        key = (asked, has_names, voxel_size_m, self._encoder.logit_scale)
        found = self._known.get(key)
        if found is None:
            question = self._asking.question(asked, knows, voxel_size_m)
            found = self._known[key] = Standing(question, self._device)
            while len(self._known) > _MOST_QUESTIONS:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return found
