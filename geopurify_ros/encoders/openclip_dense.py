"""One feature vector per cell of an image, from image towers that give one per image.

A CLIP tower ends in a pooling step: attention of the class token (ViT), attention of the mean
(ResNet) or a plain mean (MobileCLIP). Leaving the pooling out and sending every cell alone
through what follows keeps the cells in the space of the text (MaskCLIP, Zhou et al. 2022).

ViT and ResNet keep only the value path of their last attention. With `neighbours`, a ViT instead
attends by likeness of keys plus a Gaussian window around each patch (NACLIP, Hajimiri et al.
2025): smoother within things, and dearer by one attention over all patches.

The ResNet's position embedding is left out, as in MaskCLIP: on the value path it would add a
vector that depends on the place in the image alone, and a voxel is seen in many places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear, scaled_dot_product_attention

from geopurify_ros.errors import ConfigError

_WINDOW_STD_CELLS = 5.0  # NACLIP's
CONV_TRUNKS = ("fastvit", "convnext")  # of timm; FastViT is the trunk of MobileCLIP


@dataclass(frozen=True)
class DenseTower:
    """An image tower, the pixels of a cell, and how to get the features of all cells."""

    visual: Any
    cell_px: tuple[int, int]
    features: Callable[[Any, Tensor], Tensor]  # visual, (1, 3, h cells, w cells) -> (1, D, h, w)

    def __call__(self, image: Tensor) -> Tensor:  # (1, D, h, w), not normalised
        """Features of a normalised image whose sides are whole cells."""
        return self.features(self.visual, image)


def dense_tower(visual: Any, name: str, neighbours: bool = False) -> DenseTower:
    """The dense form of an open_clip image tower, which is changed in place to run faster.

    Raises:
        ConfigError: a tower of another kind, or `neighbours` without patches that attend.
    """
    if neighbours and not _is_vit(visual):
        raise no_patches(name)
    if _is_vit(visual):
        return DenseTower(visual, visual.patch_size, partial(vit_features, neighbours=neighbours))
    # Convolutions in bfloat16 are up to 2.5 times as fast with the channels last.
    if hasattr(visual, "layer4") and hasattr(visual, "attnpool"):
        visual.to(memory_format=torch.channels_last)
        return DenseTower(visual, (32, 32), resnet_features)
    if type(getattr(visual, "trunk", None)).__name__.lower() in CONV_TRUNKS:
        from timm.utils.model import reparameterize_model  # branches of training, summed up

        reparameterize_model(visual.trunk, inplace=True)
        cell = int(visual.trunk.feature_info[-1]["reduction"])
        visual.to(memory_format=torch.channels_last)
        return DenseTower(visual, (cell, cell), conv_features)
    raise no_dense_features(name)


def no_dense_features(name: str) -> ConfigError:
    """The error for models of another kind."""
    return ConfigError(
        f"{name} gives no dense features here: use a ViT-*, RN*, MobileCLIP-S* or convnext_* model"
    )


def no_patches(name: str) -> ConfigError:
    """The error for `neighbours` where nothing attends."""
    return ConfigError(f"{name} is no ViT: +naclip is for ViT-* models")


def _is_vit(visual: Any) -> bool:
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    return (
        blocks is not None
        and visual.attn_pool is None
        and isinstance(blocks[-1].attn, nn.MultiheadAttention)
    )


def vit_features(visual: Any, image: Tensor, neighbours: bool = False) -> Tensor:
    """Patches of a ViT after the value path, or neighbour attention, of its last block.

    The block's residual and MLP are left out: they belong to the class token's job of summing
    the image up, and dense features are better without (MaskCLIP section 3; NACLIP section 3).
    """
    grid = (image.shape[2] // visual.patch_size[0], image.shape[3] // visual.patch_size[1])
    tokens = vit_tokens(visual, image)
    last = visual.transformer.resblocks[-1]
    mixed = neighbour_attention(last, tokens, grid) if neighbours else value_path(last, tokens)
    projected: Tensor = visual.ln_post(mixed) @ visual.proj
    return projected.transpose(1, 2).reshape(1, -1, *grid)


def vit_tokens(visual: Any, image: Tensor) -> Tensor:  # (1, 1 + h w, C)
    """What enters the last block: class token and patches, row after row."""
    patches = visual.conv1(image)
    position = _position(visual, (patches.shape[2], patches.shape[3])).to(patches)
    patches = patches.flatten(2).transpose(1, 2)
    classes = visual.class_embedding.to(patches).expand(1, 1, -1)
    tokens: Tensor = visual.ln_pre(torch.cat((classes, patches), dim=1) + position)
    for block in visual.transformer.resblocks[:-1]:
        tokens = block(tokens)
    return tokens


def _position(visual: Any, grid: tuple[int, int]) -> Tensor:  # (1 + h w, C)
    """The position embedding at `grid`, interpolated as open_clip does when it loads weights."""
    position: Tensor = visual.positional_embedding
    if grid == tuple(visual.grid_size):
        return position
    own = position[1:].float().T.reshape(1, -1, *visual.grid_size)
    resized = interpolate(own, grid, mode="bicubic", antialias=True)[0]
    return torch.cat((position[:1].float(), resized.flatten(1).T))


def value_path(block: Any, tokens: Tensor) -> Tensor:  # (1, 1 + h w, C) -> (1, h w, C)
    """Every patch attends to itself alone."""
    attention = block.attn
    value_rows = slice(2 * attention.embed_dim, None)
    weight, bias = attention.in_proj_weight[value_rows], attention.in_proj_bias[value_rows]
    values: Tensor = attention.out_proj(linear(block.ln_1(tokens[:, 1:]), weight, bias))
    gained: Tensor = block.ls_1(values)
    return gained


def neighbour_attention(
    block: Any, tokens: Tensor, grid: tuple[int, int]
) -> Tensor:  # (1, 1 + h w, C) -> (1, h w, C)
    """Every patch attends to what has keys like its own, and more to what is near (NACLIP)."""
    attention = block.attn
    rows = slice(attention.embed_dim, None)  # of keys and values
    both = linear(block.ln_1(tokens), attention.in_proj_weight[rows], attention.in_proj_bias[rows])
    keys, values = both.view(1, len(tokens[0]), 2, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    window = _gaussian_window(grid).to(keys)
    # (1, heads, h w, C / heads); the class token is attended to, but asks nothing
    mixed = scaled_dot_product_attention(keys[:, :, 1:], keys, values, attn_mask=window)
    gained: Tensor = block.ls_1(attention.out_proj(mixed.transpose(1, 2).flatten(2)))
    return gained


def _gaussian_window(grid: tuple[int, int]) -> Tensor:  # (h w, 1 + h w)
    """Added to the attention logits: 1 at the patch itself, 0 far away and at the class token."""
    along = []
    for length in grid:
        at = torch.arange(length, dtype=torch.float32)
        along.append(torch.exp(-0.5 * ((at[:, None] - at) / _WINDOW_STD_CELLS) ** 2))
    return nn.functional.pad(torch.kron(*along), (1, 0))


def resnet_features(visual: Any, image: Tensor) -> Tensor:
    """Cells of 32 px of a ModifiedResNet through value and output layer of its pooling."""
    pool = visual.attnpool
    cells = resnet_maps(visual, image).permute(0, 2, 3, 1)
    projected: Tensor = pool.c_proj(pool.v_proj(cells))
    return projected.permute(0, 3, 1, 2)


def resnet_maps(visual: Any, image: Tensor) -> Tensor:  # (1, C, h, w)
    """What enters the attention pooling."""
    maps = visual.stem(image.contiguous(memory_format=torch.channels_last))
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        maps = layer(maps)
    result: Tensor = maps
    return result


def conv_features(visual: Any, image: Tensor) -> Tensor:
    """Cells of a convolutional timm trunk; the mean of a single cell is the cell itself."""
    maps = visual.trunk.forward_features(image.contiguous(memory_format=torch.channels_last))
    cells = maps[0].flatten(1).T[..., None, None]  # (h w, C, 1, 1)
    projected: Tensor = visual.head(visual.trunk.forward_head(cells))
    return projected.T.reshape(1, -1, *maps.shape[2:])
