"""Convolutions as oneDNN runs them best: weights packed once, what follows done in the same pass.

These are the operators that torch's own compiler makes of a convolution. They are no part of its
public interface: `can_fuse` tries them, and who uses them keeps a plain way beside.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Conv2d, Module, Parameter

# Of maps that weights are kept packed for, beside the weights: a camera has one size, its strips
# have three. The weights of a whole tower take 28 MB.
_MOST_SIZES = 3


class Act(NamedTuple):
    """What is done to every result, in oneDNN's words."""

    name: str = "none"
    scalars: tuple[float, ...] = ()


NOTHING, RELU, RELU6 = Act(), Act("relu"), Act("hardtanh", (0.0, 6.0))


class FusedConv:
    """A convolution and what follows it, for one image in channels_last."""

    def __init__(self, conv: Conv2d, act: Act = NOTHING) -> None:
        """Share the weights of `conv`; its dilation is left out, single taps do not need it."""
        self._weight = conv.weight.detach()
        self._bias = None if conv.bias is None else conv.bias.detach()
        pad = [int(side) for side in conv.padding]
        self._shape: tuple[Any, ...] = (pad, [*conv.stride], [1, 1], conv.groups)
        self._act, self._limits = act.name, [*act.scalars]
        self._packed: dict[torch.Size, Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """act(conv(x)): (1, C, H, W) -> (1, C', H', W')."""
        made: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
            x, self._packed_for(x), self._bias, *self._shape, self._act, self._limits, ""
        )
        return made

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """act(total + conv(x)), written into `total`; act is NOTHING or RELU."""
        act = None if self._act == NOTHING.name else self._act
        made: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            total, x, self._packed_for(x), self._bias, *self._shape, "add", 1.0, act,
            self._limits, "",
        )  # fmt: skip
        return made

    def _packed_for(self, x: Tensor) -> Tensor:
        """The weights in the order that oneDNN wants for this size; in another it would copy."""
        packed = self._packed.get(x.shape)
        if packed is None:
            if len(self._packed) == _MOST_SIZES:
                self._packed.clear()
            packed = torch.ops.mkldnn._reorder_convolution_weight(
                self._weight, *self._shape, list(x.shape)
            )
            self._packed[x.shape] = packed
        return packed


@torch.no_grad()
def can_fuse(like: Tensor) -> bool:
    """Whether this torch has the operators for tensors like this one, tried on a small map."""
    if like.device.type != "cpu" or like.dtype not in (torch.float32, torch.bfloat16):
        return False
    conv = pointwise(like.new_zeros((8, 8)), like.new_zeros(8))
    x = like.new_zeros((1, 8, 4, 4)).contiguous(memory_format=torch.channels_last)
    try:
        FusedConv(conv, RELU).onto(FusedConv(conv, RELU6)(x), x)
    except (RuntimeError, AttributeError, TypeError):  # a torch without oneDNN, or another one
        return False
    return True


def convs(module: Module) -> list[Conv2d]:
    """The convolutions of a module, in their order."""
    return [child for child in module.modules() if isinstance(child, Conv2d)]


def pointwise(weight: Tensor, bias: Tensor) -> Conv2d:  # (C', C), (C',)
    """The convolution that multiplies each pixel by a matrix."""
    conv = Conv2d(weight.shape[1], weight.shape[0], 1, device="meta")
    conv.weight = Parameter(weight.detach()[..., None, None].contiguous(), requires_grad=False)
    conv.bias = Parameter(bias.detach(), requires_grad=False)
    return conv
