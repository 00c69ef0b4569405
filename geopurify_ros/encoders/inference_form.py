"""The image tower as a CPU runs it: the same up to rounding, in three quarters of the time.

What is saved are passes over memory. Activations and sums are done by the convolution before them,
weights are packed once, the largest maps are made strip by strip and stay in the cache, and what
is no longer needed is overwritten: on fresh memory the first touch costs more than the arithmetic.
`ImageTower` says what is computed and is what is trained; here are neither gradients nor batches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geopurify_ros.encoders.fused_conv import RELU, FusedConv, convs, pointwise
from geopurify_ros.encoders.image_tower import Decoder, ImageTower, enlarged
from geopurify_ros.encoders.inference_trunk import STRIP_ROWS, TrunkForm


class InferenceForm:
    """`ImageTower` for one image at a time; made of a tower whose norms are folded."""

    def __init__(self, tower: ImageTower) -> None:
        """Share the weights of `tower`, which is not changed."""
        self._trunk, self._decoder = TrunkForm(tower.trunk), _DecoderForm(tower.decoder)
        vectors, usual = (
            tower.knowledge_weight.float() * x.float() for x in (tower.class_vectors, tower.usual)
        )
        self._words = FusedConv(pointwise(vectors.T, -usual))

    def __call__(self, image: Tensor, channels: Tensor) -> Tensor:
        """Unit features (1, D, H / 4, W / 4) in float32.

        Args:
            image: (1, 3, H, W) in 0..1, H and W multiples of 32.
            channels: (1, 8, H / 4, W / 4) of depth_channels, zeros where there is no depth.
        """
        maps = self._trunk(image)
        share = torch.softmax(self._trunk.classify(maps[-1]).float(), dim=1)
        return self._decoder(maps, channels, self._words(share))


class _DecoderForm:
    """`image_tower.Decoder` and `ImageTower.combine`."""

    def __init__(self, decoder: Decoder) -> None:
        self._lateral = [FusedConv(conv) for conv in convs(decoder.lateral)]
        self._depth = [_DepthLevel(level) for level in decoder.depth.levels]
        self._depth_lateral = [FusedConv(conv) for conv in convs(decoder.depth_lateral)]
        self._whole, self._narrow = FusedConv(decoder.whole), FusedConv(decoder.narrow)
        self._smooth = [_Smooth(module) for module in decoder.smooth]
        self._again, self._sharpen = _Smooth(decoder.again), _Smooth(decoder.sharpen)
        self._features, self._detail = FusedConv(decoder.features), FusedConv(decoder.detail)
        self._edges = FusedConv(decoder.edges)

    def __call__(self, maps: list[Tensor], channels: Tensor, words: Tensor) -> Tensor:
        """(1, D, h, w) unit features; `words` (1, D, h / 8, w / 8) are weighted already."""
        coarse = self._coarse(maps, channels)
        fine = enlarged(self._narrow(coarse), maps[0].shape[-2:])
        fine = self._sharpen(self._edges.onto(fine, torch.cat([maps[0], channels], dim=1)))
        return self._combined(self._features(coarse), fine, words)

    def _coarse(self, maps: list[Tensor], channels: Tensor) -> Tensor:
        """(1, C, h / 2, w / 2)."""
        shapes = []
        for level in self._depth:
            channels = level(channels)
            shapes.append(channels)
        x = self._whole(maps[-1].mean(dim=(2, 3), keepdim=True))
        for k in (2, 1, 0):
            x = self._lateral[k].onto(enlarged(x, shapes[k].shape[-2:]), maps[k + 1])
            x = self._smooth[k](self._depth_lateral[k].onto(x, shapes[k]))
        return self._again(x).add_(x)

    def _combined(self, features: Tensor, fine: Tensor, words: Tensor) -> Tensor:
        """Of maps of half the size, of the whole size and of an eighth of it."""
        height, width = fine.shape[-2:]
        size = (1, features.shape[1], height, width)
        made = torch.empty(size, memory_format=torch.channels_last)
        words = enlarged(words, (height, words.shape[-1]))
        for start in range(0, height, STRIP_ROWS):
            rows = slice(start, min(start + STRIP_ROWS, height))
            x = self._detail.onto(_doubled(features, rows), fine[:, :, rows]).float()
            x.addcmul_(_length(x), enlarged(words[:, :, rows], (x.shape[2], width)))
            torch.mul(x, _length(x).clamp_min_(1e-12).reciprocal_(), out=made[:, :, rows])
        return made


class _DepthLevel:
    """A level of `DepthTower`."""

    def __init__(self, level: nn.Module) -> None:
        halve, *others = convs(level)
        self._halve = FusedConv(halve, RELU)
        self._blocks = [
            (FusedConv(first, RELU), FusedConv(second, RELU))
            for first, second in zip(others[::2], others[1::2], strict=True)
        ]

    def __call__(self, x: Tensor) -> Tensor:
        x = self._halve(x)
        for first, second in self._blocks:
            x = second.onto(x, first(x))
        return x


class _Smooth:
    """`image_tower._smooth`."""

    def __init__(self, module: nn.Module) -> None:
        self._around, self._across = (FusedConv(conv, RELU) for conv in convs(module))

    def __call__(self, x: Tensor) -> Tensor:
        return self._across(self._around(x))


def _doubled(x: Tensor, rows: slice) -> Tensor:
    """Rows of the map enlarged by two; they begin with an even one."""
    first = max(rows.start // 2 - 1, 0)
    part = x[:, :, first : rows.stop // 2 + 1]
    large = enlarged(part, (2 * part.shape[2], 2 * part.shape[3]))
    return large[:, :, rows.start - 2 * first : rows.stop - 2 * first]


def _length(x: Tensor) -> Tensor:  # (1, D, h, w) -> (1, 1, h, w)
    length: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return length
