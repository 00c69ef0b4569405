"""Dense features of CLIP models from open_clip.

CLIP's image vector is an attention-weighted mean over the patches of the last block. Leaving the
attention out, so that every patch keeps its own value (MaskCLIP, Zhou et al. 2022), gives one
vector per patch in the space of the text.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from geopurify_ros.encoders.text_cache import cached_text
from geopurify_ros.encoders.torchvision_shim import ensure_torchvision
from geopurify_ros.errors import CheckpointError, ConfigError

TEMPLATES = ("a photo of a {}.", "a photo of the {}.", "a {} in a scene.", "a {} in a room.")
_log = logging.getLogger(__name__)


def load_open_clip(name: str, device: torch.device) -> OpenClipEncoder:
    """The encoder of "open_clip:<model>:<pretrained tag or checkpoint path>".

    Raises:
        ConfigError: malformed name or unknown model.
        CheckpointError: the weights cannot be had.
    """
    ensure_torchvision()
    import open_clip

    parts = name.split(":", 2)
    if len(parts) != 3 or not all(parts):
        raise ConfigError(
            f"'{name}' is not of the form open_clip:<model>:<tag or checkpoint path>"
        )
    _, model_name, pretrained = parts
    if model_name not in open_clip.list_models():
        raise ConfigError(f"open_clip has no model '{model_name}': see open_clip.list_models()")
    tags = open_clip.list_pretrained_tags_by_model(model_name)
    if not Path(pretrained).is_file() and pretrained not in tags:
        raise CheckpointError(
            f"'{pretrained}' is neither a file nor a tag of {model_name}; its tags are "
            + ", ".join(tags)
        )
    try:
        model = open_clip.create_model(model_name, pretrained=pretrained, device=device)
    except Exception as error:  # download, cache and file errors of many libraries
        _log.debug("open_clip said: %s", error)
        raise CheckpointError(
            f"the weights '{pretrained}' of {model_name} could not be loaded: with internet they "
            "are fetched once into ~/.cache/huggingface; without, copy that folder here, name a "
            f"checkpoint file (open_clip:{model_name}:<path>), or use builtin"
        ) from error
    tokenizer = open_clip.get_tokenizer(model_name)
    return OpenClipEncoder(model, tokenizer, f"{model_name}:{_weights_id(pretrained)}")


def _weights_id(pretrained: str) -> str:
    """The tag, or the content of the file: another file must not pass for the same encoder."""
    path = Path(pretrained)
    if not path.is_file():
        return pretrained
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"{path.name}@{digest.hexdigest()[:12]}"


class OpenClipEncoder:
    """A ViT of open_clip, dense through the value path of its last block."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        """Wrap a loaded model.

        Raises:
            ConfigError: the image tower is no plain ViT.
        """
        self.id = f"open_clip:{name}"
        self._model = model.eval()
        self._visual = model.visual
        self._tokenizer = tokenizer
        if not hasattr(self._visual, "transformer") or self._visual.attn_pool is not None:
            raise ConfigError(f"{name} has no plain ViT image tower: use a ViT-* model")
        self._device = self._visual.proj.device
        self._dtype = self._visual.proj.dtype
        self.feature_dim = int(self._visual.output_dim)
        self.logit_scale = float(model.logit_scale.detach().exp())
        mean, std = self._visual.image_mean, self._visual.image_std
        self._mean = torch.tensor(mean, device=self._device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=self._device).view(1, 3, 1, 1)

    @torch.inference_mode()
    def encode_image(self, rgb: Tensor) -> Tensor:  # (1, 3, H, W) 0..1 -> (1, D, h, w)
        """Unit-norm patch features; the image is scaled to whole patches, its size is kept."""
        rows, columns = self._grid_of(rgb)
        patch = self._visual.patch_size
        resized = interpolate(
            rgb.to(self._device), (rows * patch[0], columns * patch[1]), mode="bilinear",
            antialias=True,
        )
        tokens = self._embed(((resized - self._mean) / self._std).to(self._dtype), rows, columns)
        blocks = self._visual.transformer.resblocks
        for block in blocks[:-1]:
            tokens = block(tokens)
        values = self._project(_value_path(blocks[-1], tokens))[:, 1:]
        grid = normalize(values.to(torch.float32), dim=-1).transpose(1, 2)
        return grid.reshape(1, self.feature_dim, rows, columns)

    def encode_text(self, texts: tuple[str, ...]) -> Tensor:  # (L, D)
        """Unit-norm mean over the prompt templates."""
        return cached_text(self.id, texts, lambda: self._encode_text(texts)).to(self._device)

    @torch.inference_mode()
    def _encode_text(self, texts: tuple[str, ...]) -> Tensor:
        rows = []
        for text in texts:
            tokens = self._tokenizer([t.format(text) for t in TEMPLATES]).to(self._device)
            rows.append(normalize(self._model.encode_text(tokens).float(), dim=1).mean(dim=0))
        return normalize(torch.stack(rows), dim=1)

    def _grid_of(self, rgb: Tensor) -> tuple[int, int]:
        patch = self._visual.patch_size
        height, width = rgb.shape[-2:]
        return max(1, round(height / patch[0])), max(1, round(width / patch[1]))

    def _embed(self, image: Tensor, rows: int, columns: int) -> Tensor:  # (1, 1 + h w, C)
        """Patch tokens with the position embedding interpolated to this grid."""
        visual = self._visual
        patches = visual.conv1(image).flatten(2).transpose(1, 2)
        cls = visual.class_embedding.to(patches).expand(1, 1, -1)
        position = visual.positional_embedding.to(patches)
        own = visual.grid_size
        grid = position[1:].reshape(1, *own, -1).permute(0, 3, 1, 2)
        if (rows, columns) != tuple(own):
            grid = interpolate(grid.float(), (rows, columns), mode="bicubic", antialias=True)
        grid = grid.to(patches).flatten(2).transpose(1, 2)
        position = torch.cat((position[None, :1], grid), dim=1)
        embedded: Tensor = visual.ln_pre(torch.cat((cls, patches), dim=1) + position)
        return embedded

    def _project(self, tokens: Tensor) -> Tensor:
        projected: Tensor = self._visual.ln_post(tokens) @ self._visual.proj
        return projected


def _value_path(block: Any, tokens: Tensor) -> Tensor:
    """The last block with its attention matrix replaced by the identity, without the MLP.

    The residual and the MLP belong to the class token's job of summing the image up; dense
    features are better without them (MaskCLIP, section 3).
    """
    attention = block.attn
    width = attention.embed_dim
    weight, bias = attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
    values = torch.nn.functional.linear(block.ln_1(tokens), weight, bias)
    projected: Tensor = attention.out_proj(values)
    return projected
