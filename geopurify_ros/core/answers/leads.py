"""How far each prompt leads over the best of its rivals, and what that lead is worth.

The lead, in logits, is what scores are made of: slope * lead + offset through the logistic curve,
calibrated per encoder on validation rooms (`geopurify train answers`). Without calibration the
curve is plain: the soft-max of the prompt and its best rival.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.mapping.encoder import AnswerProfile


@dataclass(frozen=True)
class Leads:
    """Of R voxels.

    Attributes:
        lead: (R, L) logits over the best rival, other prompts among them; inf: no rival.
        rival: (R, L) int64, number of the best rival among all texts.
    """

    lead: Tensor
    rival: Tensor


class LeadMaker:
    """Finds leads in logits; prepared once per question."""

    def __init__(self, spared: Tensor) -> None:  # (L, A) bool
        """`spared`: alternatives that are no rivals of a prompt."""
        num_prompts, device = len(spared), spared.device
        of_some = spared.any(dim=0)
        # columns that rival all prompts alike are looked at once, the others for each prompt
        self._common = torch.nonzero(~of_some).squeeze(1) + num_prompts
        special = torch.nonzero(of_some).squeeze(1) + num_prompts
        self._own = torch.cat((torch.arange(num_prompts, device=device), special))
        itself = torch.eye(num_prompts, dtype=torch.bool, device=device)
        is_none = torch.cat((itself, spared[:, of_some]), dim=1)
        self._blocked = torch.zeros(is_none.shape, device=device).masked_fill(is_none, -torch.inf)

    def of(self, logits: Tensor) -> Leads:  # (R, L + A)
        """Leads of the prompts, which are the first L columns."""
        best, number = self._best_common(logits)
        own = logits.index_select(1, self._own)
        leads, rivals = [], []
        for k, blocked in enumerate(self._blocked):
            other, place = (own + blocked).max(dim=1)
            rivals.append(torch.where(other > best, self._own[place], number))
            leads.append(own[:, k] - torch.maximum(other, best))
        # -inf less -inf: a prompt that cannot be read and has no rival leads nothing
        lead = torch.stack(leads, dim=1).nan_to_num_(-torch.inf, torch.inf, -torch.inf)
        return Leads(lead, torch.stack(rivals, dim=1))

    def _best_common(self, logits: Tensor) -> tuple[Tensor, Tensor]:  # (R,), (R,)
        if len(self._common):
            best, place = logits.index_select(1, self._common).max(dim=1)
            return best, self._common[place]
        nothing = logits.new_full((len(logits),), -torch.inf)
        return nothing, torch.zeros(len(logits), dtype=torch.int64, device=logits.device)


def probability(lead: Tensor, profile: AnswerProfile) -> Tensor:
    """The probability that a lead stands for: calibrated, or that of the plain curve."""
    slope, offset = (profile.slope, profile.offset) if profile.is_calibrated else (1.0, 0.0)
    return torch.sigmoid(slope * lead + offset)
