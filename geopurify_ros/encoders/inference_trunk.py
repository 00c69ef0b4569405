"""`image_tower.Trunk` as `inference_form` runs it: the largest maps are made strip by strip."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from geopurify_ros.encoders.fused_conv import RELU6, FusedConv, convs, pointwise
from geopurify_ros.encoders.image_tower import MEAN, STD, TEMPERATURE, Trunk

STRIP_ROWS = 16
_LARGE = 1_000_000  # values of a map from which it is made in strips: more than caches hold


class TrunkForm:
    """The trunk for one image at a time, which need not be normalised."""

    def __init__(self, trunk: Trunk) -> None:
        """Share the weights of `trunk`, which is not changed."""
        self._stem = FusedConv(_takes_0_to_1(convs(trunk.stem)[0]), RELU6)
        first, second, *others = (list(stage.children()) for stage in trunk.stages)
        self._spread, self._halve = _Block(first[0]), _Block(_padded_evenly(second[0]))
        self._stages = [[_Block(block) for block in stage] for stage in (second[1:], *others)]
        self._head = FusedConv(trunk.head, RELU6)
        last = trunk.classifier
        assert last.bias is not None
        self._classifier = FusedConv(
            pointwise(last.weight[..., 0, 0] / TEMPERATURE, last.bias / TEMPERATURE)
        )

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Maps of strides 4 to 32 of an image (1, 3, H, W) in 0..1."""
        x = self._begun(image)
        maps = []
        for stage in self._stages:
            for block in stage:
                x = block(x)
            maps.append(x)
        return [maps[0], maps[1], maps[3], maps[5]]

    def classify(self, deepest: Tensor) -> Tensor:
        """(1, 1000, h, w) logits of the ImageNet classes, divided by the temperature."""
        return self._classifier(self._head(deepest))

    def _begun(self, image: Tensor) -> Tensor:
        """The first map of stride 4: what is before it is the largest of all."""
        height, width = (side // 2 for side in image.shape[-2:])
        framed = image.new_empty((1, 2 * height + 1, 2 * width + 1, 3)).permute(0, 3, 1, 2)
        framed[:, :, :-1, :-1] = image
        framed[:, :, -1], framed[:, :, :, -1] = MEAN, MEAN  # zero, once normalised
        strips = []
        for start in range(0, height, 2 * STRIP_ROWS):
            end = min(start + 2 * STRIP_ROWS + 1, height)  # a row more: the next step sees it
            top = max(start - 1, 0)
            x = self._stem(framed[:, :, 2 * top : 2 * min(end + 1, height) + 1])
            strips.append(self._halve(self._spread.rows(x, start - top, end - top)))
        return torch.cat(strips, dim=2)


class _Block:
    """`image_tower.Block`."""

    def __init__(self, block: nn.Module) -> None:
        self._residual = bool(block.residual)
        *widen, spatial, narrow = convs(block)
        self._widen = [FusedConv(conv, RELU6) for conv in widen]
        self._spatial, self._narrow = FusedConv(spatial, RELU6), FusedConv(narrow)
        self._kernel, self._stride = spatial.kernel_size[0], spatial.stride[0]
        self._pad, self._width = int(spatial.padding[0]), spatial.in_channels

    def __call__(self, x: Tensor) -> Tensor:
        """(1, C, H, W) -> (1, C', H', W'); may overwrite `x`."""
        if self._width * x.shape[2] * x.shape[3] > _LARGE:
            height = x.shape[2] // self._stride
            starts = range(0, height, STRIP_ROWS)
            strips = [self.rows(x, k, min(k + STRIP_ROWS, height)) for k in starts]
            return torch.cat(strips, dim=2)
        y = self._spatial(self._widened(x))
        return self._narrow.onto(x, y) if self._residual else self._narrow(y)

    def rows(self, x: Tensor, start: int, end: int) -> Tensor:
        """Rows `start` to `end` of the result; `x` stays as it is."""
        # a strip is padded like a whole map: what that spoils, rows above `start`, is left out
        first = max(start - -(-self._pad // self._stride), 0)
        last_seen = (end - 1) * self._stride - self._pad + self._kernel
        y = self._spatial(self._widened(x[:, :, first * self._stride : last_seen]))
        y = self._narrow(y[:, :, start - first : end - first])
        return y.add_(x[:, :, start:end]) if self._residual else y

    def _widened(self, x: Tensor) -> Tensor:
        for conv in self._widen:
            x = conv(x)
        return x


def _takes_0_to_1(stem: nn.Conv2d) -> nn.Conv2d:
    """The first convolution, which learnt from images normalised by MEAN and STD."""
    made = copy.deepcopy(stem)
    weight = stem.weight.detach().float() / STD
    made.weight.data = weight.to(stem.weight.dtype)
    assert stem.bias is not None
    assert made.bias is not None
    bias = stem.bias.detach().float() - MEAN * weight.sum(dim=(1, 2, 3))
    made.bias.data = bias.to(stem.bias.dtype)
    return made


def _padded_evenly(block: nn.Module) -> nn.Module:
    """A block that is padded to the right and below, with a kernel that begins with zeros.

    A padded copy of its map, one of the largest, costs more than the additional taps.
    """
    made = copy.deepcopy(block)
    spatial = convs(made)[-2]
    spatial.weight.data = pad(spatial.weight.data, (1, 0, 1, 0))
    spatial.kernel_size, spatial.padding = tuple(spatial.weight.shape[-2:]), (1, 1)
    return made
