"""How far each prompt leads over the best of its rivals, and what that lead is worth.

The lead, in logits, is what scores are made of: slope * lead + offset through the logistic curve,
calibrated per encoder on validation rooms (`geopurify train answers`). Without calibration the
curve is plain: the soft-max of the prompt and its best rival.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geopurify_ros.core.mapping.encoder import AnswerProfile


class LeadMaker:
    """Finds leads in logits; prepared once per question."""

    def __init__(self, spared: Tensor, counting: Tensor) -> None:  # (L, A) bool, (L, A) bool
        """Quick where the alternatives that are special to some prompt come first.

        Args:
            spared: alternatives that are no rivals of a prompt.
            counting: those of them whose logit counts for the prompt: kinds of it.
        """
        self._num_prompts = num = len(spared)
        itself = torch.eye(num, dtype=torch.bool, device=spared.device)
        is_none = torch.cat((itself, spared), dim=1)
        blocked = torch.zeros(is_none.shape, device=spared.device)
        self._blocked = blocked.masked_fill_(is_none, -torch.inf)  # (L, L + A)
        self._is_none = is_none.T.contiguous()  # (L + A, L)
        counts = torch.cat((itself, counting), dim=1)
        self._counted = torch.full_like(blocked, -torch.inf).masked_fill_(counts, 0.0)
        self._has_kinds = bool(counting.any())
        of_some = torch.nonzero((spared | counting).any(dim=0))
        # columns from here on rival all prompts alike: they are looked at once
        self._common = num + (int(of_some.max()) + 1 if len(of_some) else 0)

    def of(self, logits: Tensor) -> tuple[Tensor, Tensor]:  # (R, L + A) -> (R, L), (R, L)
        """Leads of the prompts, which are the first L columns, and `prompts`; inf: no rival."""
        own, common = logits[:, : self._common], logits[:, self._common :]
        best = common.amax(dim=1) if common.shape[1] else logits.new_full((), -torch.inf)
        prompts = self.prompts(logits)
        rivals = torch.cat((prompts, own[:, self._num_prompts :]), dim=1)
        # The best rival of nearly all prompts is the best text of all: only where that is none of
        # a prompt is the next one looked for.
        most, winner = rivals.max(dim=1)
        rival = most[:, None].repeat(1, self._num_prompts)
        row, prompt = torch.nonzero(self._is_none[winner], as_tuple=True)
        rival[row, prompt] = (rivals[row] + self._blocked[prompt, : self._common]).amax(dim=1)
        rival = torch.maximum(rival, best[..., None])
        # -inf less -inf: a prompt that cannot be read and has no rival leads nothing
        lead = (prompts - rival).nan_to_num_(-torch.inf, torch.inf, -torch.inf)
        return lead, prompts

    def prompts(self, logits: Tensor) -> Tensor:  # (R, L + A) -> (R, L)
        """Logits of the prompts, or of a kind that has more."""
        own = logits[:, : self._common]
        if not self._has_kinds:
            return own[:, : self._num_prompts]
        return torch.stack([(own + counted[: self._common]).amax(dim=1)
                            for counted in self._counted], dim=1)  # fmt: skip

    def rival(self, logits: Tensor, prompt: Tensor) -> Tensor:  # (R, L + A), (R,) -> (R,)
        """Number of the text that comes nearest to the given prompt of each row."""
        return (logits + self._blocked[prompt]).argmax(dim=1)


def probability(lead: Tensor, profile: AnswerProfile) -> Tensor:
    """The probability that a lead stands for: calibrated, or that of the plain curve."""
    slope, offset = _curve(profile)
    return torch.sigmoid(slope * lead + offset)


def lead_of(chance: float, profile: AnswerProfile) -> float:
    """The lead that a probability stands for."""
    slope, offset = _curve(profile)
    return float((torch.tensor(chance).double().logit() - offset) / slope)


def _curve(profile: AnswerProfile) -> tuple[float, float]:
    return (profile.slope, profile.offset) if profile.is_calibrated else (1.0, 0.0)
