"""CLIP models of open_clip as encoders: dense image features, and text by templates."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from geopurify_ros.encoders.household import household
from geopurify_ros.encoders.openclip_dense import (
    CONV_TRUNKS,
    dense_tower,
    no_dense_features,
    no_patches,
)
from geopurify_ros.encoders.openclip_precision import trial_of
from geopurify_ros.encoders.openclip_text import encode_tokens
from geopurify_ros.encoders.openclip_weights import Weights, find_weights
from geopurify_ros.encoders.precision import pick_dtype, ramp, tried
from geopurify_ros.encoders.text_cache import cached_text
from geopurify_ros.encoders.torchvision_shim import ensure_torchvision
from geopurify_ros.errors import CheckpointError, ConfigError

TEMPLATES = ("a photo of a {}.", "a photo of the {}.", "a {} in a scene.", "a {} in a room.")
_NACLIP = "+naclip"
# Larger images are scaled down: the cost of attention grows with the square of the area, and the
# position embedding was trained on 224 px.
_MAX_PIXELS = 640 * 480


def load_open_clip(
    name: str, device: torch.device, dtype: torch.dtype | None = None
) -> OpenClipEncoder:
    """The encoder of "open_clip:<model>[+naclip]:<pretrained tag or checkpoint path>".

    `dtype` is that of its image tower; None takes what is faster here.

    Raises:
        ConfigError: malformed name, unknown model, one without dense features, or a number type
            that the device cannot compute in.
        CheckpointError: the weights cannot be had.
    """
    open_clip = import_open_clip()
    parts = name.split(":", 2)
    if len(parts) != 3 or not all(parts):
        raise ConfigError(
            f"'{name}' is not of the form open_clip:<model>:<tag or checkpoint path>"
        )
    model_name, neighbours = parts[1].removesuffix(_NACLIP), parts[1].endswith(_NACLIP)
    if model_name not in open_clip.list_models():
        raise ConfigError(f"open_clip has no model '{model_name}': see open_clip.list_models()")
    _refuse_before_fetching(open_clip, model_name, neighbours)
    weights = find_weights(model_name, parts[2])
    model = _load(open_clip, model_name, weights, device)
    tokenizer = _tokenizer(open_clip, model_name)
    return OpenClipEncoder(model, tokenizer, f"{parts[1]}:{weights.id}", neighbours, dtype)


def import_open_clip() -> Any:
    """open_clip, also beside a torchvision that does not load.

    Raises:
        CheckpointError: it is not installed.
    """
    try:
        ensure_torchvision()
        import open_clip
    except ImportError as error:
        raise CheckpointError(
            f"open_clip models need a package that is missing ({error.name}): "
            "pip install open_clip_torch, or use the encoder builtin"
        ) from error
    return open_clip


def _refuse_before_fetching(open_clip: Any, model_name: str, neighbours: bool) -> None:
    """Refuse what `dense_tower` would, before gigabytes are fetched for it."""
    vision = open_clip.get_model_config(model_name)["vision_cfg"]
    trunk = vision.get("timm_model_name", "")
    if vision.get("attentional_pool") or (trunk and not trunk.startswith(CONV_TRUNKS)):
        raise no_dense_features(model_name)
    if neighbours and (trunk or not isinstance(vision["layers"], int)):
        raise no_patches(model_name)


def _load(open_clip: Any, model_name: str, weights: Weights, device: torch.device) -> Any:
    try:
        return open_clip.create_model(
            model_name,
            pretrained=str(weights.path),
            device=device,
            force_quick_gelu=weights.tag_config.get("quick_gelu", False),
            force_preprocess_cfg=weights.tag_config,
        )
    except Exception as error:  # torch, safetensors, zip and pickle have one kind each
        raise CheckpointError(
            f"the weights '{weights.path}' of {model_name} could not be loaded: the file is "
            "damaged, belongs to another model, or is no state dict of open_clip"
        ) from error


def _tokenizer(open_clip: Any, model_name: str) -> Any:
    """CLIP's own comes with open_clip; models with a multilingual text tower fetch theirs."""
    try:
        return open_clip.get_tokenizer(model_name)
    except Exception as error:  # of transformers and the hub's client
        raise CheckpointError(
            f"the tokenizer of {model_name} is not in the Hugging Face cache and could not be "
            "fetched: start once with internet, or use a model with CLIP's own, such as ViT-B-32"
        ) from error


class OpenClipEncoder:
    """Unit-norm features per cell of an image, and per text, in one space."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        name: str,
        neighbours: bool = False,
        dtype: torch.dtype | None = torch.float32,
    ) -> None:
        """Take a loaded model over: its image tower is changed.

        Args:
            model: of open_clip.create_model.
            tokenizer: of open_clip.get_tokenizer.
            name: of the model and its weights; texts are cached under it.
            neighbours: NACLIP's attention in place of the value path (ViT only).
            dtype: of the image tower; None measures what is faster here.

        Raises:
            ConfigError: the image tower gives no dense features, or none in `dtype`.
        """
        self.id = f"open_clip:{name}"
        self.vocabulary, self.answer_profile = household()
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._tower = dense_tower(model.visual, name, neighbours)
        self._device = next(model.visual.parameters()).device
        self.dtype = dtype or pick_dtype(self.id, trial_of(self._tower), self._device)
        self.logit_scale = float(model.logit_scale.detach().exp())
        self._mean = torch.tensor(model.visual.image_mean, device=self._device).view(1, 3, 1, 1)
        self._std = torch.tensor(model.visual.image_std, device=self._device).view(1, 3, 1, 1)
        features = (
            self._first() if dtype is None else tried(self.id, dtype, self._device, self._first)
        )
        self.feature_dim = features.shape[1]

    def _first(self) -> Tensor:
        """Convert the image tower, and the features of a small image."""
        self._model.visual.to(self.dtype)
        return self.encode_image(ramp(torch.float32))

    @torch.inference_mode()
    def encode_image(self, rgb: Tensor) -> Tensor:  # (1, 3, H, W) 0..1 -> (1, D, h, w)
        """Unit-norm features; the image is scaled to whole cells, and down to 640 x 480 pixels."""
        size = self._whole_cells(rgb.shape[2], rgb.shape[3])
        resized = interpolate(
            rgb.to(self._device, torch.float32), size, mode="bilinear", antialias=True
        )
        image = ((resized - self._mean) / self._std).to(self.dtype)
        return normalize(self._tower(image).to(torch.float32), dim=1)

    def encode_text(self, texts: tuple[str, ...]) -> Tensor:  # (L, D)
        """Unit-norm mean over the prompt templates; each text is cached by itself."""
        made_by = f"{self.id} {TEMPLATES}"
        rows = [cached_text(made_by, (text,), partial(self._ensemble, text)) for text in texts]
        return torch.cat(rows).to(self._device)

    @torch.inference_mode()
    def _ensemble(self, text: str) -> Tensor:  # (1, D)
        tokens = self._tokenizer([template.format(text) for template in TEMPLATES])
        rows = normalize(encode_tokens(self._model, tokens.to(self._device)).float(), dim=1)
        return normalize(rows.mean(dim=0, keepdim=True), dim=1)

    def _whole_cells(self, height: int, width: int) -> tuple[int, int]:
        scale = min(1.0, (_MAX_PIXELS / (height * width)) ** 0.5)
        cell = self._tower.cell_px
        rows, columns = round(height * scale / cell[0]), round(width * scale / cell[1])
        return max(1, rows) * cell[0], max(1, columns) * cell[1]
