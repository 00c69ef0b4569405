"""The built-in image encoder: EfficientNet-Lite2 with a light decoder of stride 4.

The decoder sees the image's maps and, where there is depth, those of a small network on shape
(depth_tower). Two sources of meaning are added: the decoder, trained on pixels of rooms, and the
words of those of the 1000 ImageNet classes that the decoder was not taught, averaged by the
probability that the trunk gives them (ConSE, Norouzi et al. 2014), so that things never shown in a
room are known as well. Batch norms of the trunk are folded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize, pad

from geopurify_ros.encoders.depth_channels import NUM_CHANNELS
from geopurify_ros.encoders.depth_tower import STRIDE as DEPTH_STRIDE
from geopurify_ros.encoders.depth_tower import WIDTHS, DepthTower

NUM_IMAGENET = 1000
STRIDE = 32  # images are scaled to whole multiples
MEAN, STD = 127 / 255, 128 / 255  # of the trunk's own training
_HEAD = 1280
TEMPERATURE = 0.7  # chosen where classes of the training rooms were kept out for a trial


class _Stage(NamedTuple):
    """Blocks of equal width (EfficientNet, Tan and Le 2019, table 1, in the Lite2 size)."""

    num_blocks: int
    kernel: int
    stride: int
    expand: int
    width: int
    shifted: bool = False  # padded to the right and below only


STAGES = (
    _Stage(1, 3, 1, 1, 16), _Stage(3, 3, 2, 6, 24, shifted=True), _Stage(3, 5, 2, 6, 48),
    _Stage(4, 3, 2, 6, 88), _Stage(4, 5, 1, 6, 120), _Stage(5, 5, 2, 6, 208),
    _Stage(1, 3, 1, 6, 352),
)  # fmt: skip
_EDGES = 1  # the stages that `early` and `late` hand to the decoder
_TAPS = (2, 4, 6)


class _Shift(nn.Module):
    """A pixel to the right and below: TensorFlow's padding where the trunk saw even sizes."""

    def forward(self, x: Tensor) -> Tensor:
        return pad(x, (0, 1, 0, 1))


def _spatial(
    width_in: int, width: int, kernel: int, stride: int, groups: int, shifted: bool
) -> list[nn.Module]:
    conv = nn.Conv2d(width_in, width, kernel, stride, 0 if shifted else kernel // 2, groups=groups)
    return [_Shift(), conv] if shifted else [conv]


class Block(nn.Module):
    """Widen, convolve each channel, narrow; added to the input where the shape allows."""

    def __init__(self, width_in: int, stage: _Stage, first: bool) -> None:
        """Random weights; the first block of a stage has its stride."""
        super().__init__()
        wide = width_in * stage.expand
        stride = stage.stride if first else 1
        layers: list[nn.Module] = []
        if stage.expand > 1:
            layers += [nn.Conv2d(width_in, wide, 1), nn.ReLU6(inplace=True)]
        layers += _spatial(wide, wide, stage.kernel, stride, wide, stage.shifted and first)
        layers += [nn.ReLU6(inplace=True), nn.Conv2d(wide, stage.width, 1)]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and width_in == stage.width

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        y = self.layers(x)
        return x + y if self.residual else y  # type: ignore[no-any-return]


class Trunk(nn.Module):
    """EfficientNet-Lite2 without norms, and its classifier used cell by cell."""

    def __init__(self) -> None:
        """Random weights."""
        super().__init__()
        self.stem = nn.Sequential(*_spatial(3, 32, 3, 2, 1, shifted=True), nn.ReLU6(inplace=True))
        stages = []
        width = 32
        for stage in STAGES:
            blocks = []
            for k in range(stage.num_blocks):
                blocks.append(Block(width, stage, first=k == 0))
                width = stage.width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.head = nn.Conv2d(width, _HEAD, 1)
        self.classifier = nn.Conv2d(_HEAD, NUM_IMAGENET, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of strides 4 to 32 of an image (B, 3, H, W), normalised by MEAN and STD."""
        edges, near, middle = self.early(x)
        return [edges, near, middle, self.late(middle)]

    def early(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Edges, textures, parts.

        Returns:
            (B, 24, H / 4, W / 4), (B, 48, H / 8, W / 8) and (B, 120, H / 16, W / 16).
        """
        edges = self.stages[1](self.stages[0](self.stem(x)))
        near = self.stages[2](edges)
        return edges, near, self.stages[4](self.stages[3](near))

    def late(self, middle: Tensor) -> Tensor:
        """Things: (B, 352, H / 32, W / 32), from the last of the above."""
        result: Tensor = self.stages[6](self.stages[5](middle))
        return result

    def classify(self, deepest: Tensor) -> Tensor:
        """(B, 1000, h, w) logits of the ImageNet classes in every cell of stride 32."""
        logits: Tensor = self.classifier(torch.clamp(self.head(deepest), 0, 6))
        return logits


def _smooth(width: int, kernel: int = 5) -> nn.Sequential:
    """A cheap look around: each channel on its own, then all channels of a pixel."""
    return nn.Sequential(
        nn.Conv2d(width, width, kernel, 1, kernel // 2, groups=width, bias=False),
        nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
    )  # fmt: skip


class Decoder(nn.Module):
    """Feature pyramid (Lin et al. 2017) from stride 32 down to a map of stride 4.

    The features of stride 8 are enlarged; a narrow last step corrects them by the edges in colour
    and depth, for half of what stands in a room is a few cells of 8 px wide.
    """

    def __init__(self, feature_dim: int, width: int = 128, narrow: int = 64) -> None:
        """Random weights."""
        super().__init__()
        sizes = [STAGES[tap].width for tap in _TAPS]
        self.lateral = nn.ModuleList(nn.Conv2d(size, width, 1) for size in sizes)
        self.depth = DepthTower()
        self.depth_lateral = nn.ModuleList(nn.Conv2d(size, width, 1) for size in WIDTHS)
        self.whole = nn.Conv2d(sizes[-1], width, 1)
        self.smooth = nn.ModuleList([_smooth(width), _smooth(width), _smooth(width)])
        self.again = _smooth(width)
        self.features = nn.Conv2d(width, feature_dim, 1)
        self.narrow = nn.Conv2d(width, narrow, 1)
        self.edges = nn.Conv2d(STAGES[_EDGES].width + NUM_CHANNELS, narrow, 1, bias=False)
        self.sharpen = _smooth(narrow)
        self.detail = nn.Conv2d(narrow, feature_dim, 1, bias=False)
        nn.init.zeros_(self.detail.weight)  # begins as if there were no last step

    def forward(self, maps: list[Tensor], channels: Tensor) -> Tensor:
        """(B, D, H / 4, W / 4)."""
        coarse, fine = self.seen(maps, channels)
        result: Tensor = enlarged(self.features(coarse), fine.shape[-2:]) + self.detail(fine)
        return result

    def seen(self, maps: list[Tensor], channels: Tensor) -> tuple[Tensor, Tensor]:
        """All that the features of a cell are made of.

        Args:
            maps: of the trunk, four.
            channels: (B, 8, H / 4, W / 4) of depth_channels, zeros where there is no depth.

        Returns:
            (B, width, H / 8, W / 8) and (B, narrow, H / 4, W / 4).
        """
        shapes = self.depth(channels)
        own = [
            image(seen) + shape(felt)
            for image, seen, shape, felt in zip(
                self.lateral, maps[1:], self.depth_lateral, shapes, strict=True
            )
        ]
        around = self.whole(maps[-1].mean(dim=(2, 3), keepdim=True))
        x = self.smooth[2](own[2] + around)
        for level in (1, 0):
            size = own[level].shape[-2:]
            x = self.smooth[level](own[level] + enlarged(x, size))
        coarse = self.again(x) + x
        borders = self.edges(torch.cat([maps[0], channels], dim=1))
        return coarse, self.sharpen(enlarged(self.narrow(coarse), borders.shape[-2:]) + borders)


def enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), in between what stands around."""
    return interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


class ImageTower(nn.Module):
    """Images to unit vectors in the space of the text tower."""

    class_vectors: Tensor
    usual: Tensor
    knowledge_weight: Tensor

    def __init__(self, feature_dim: int) -> None:
        """Random weights."""
        super().__init__()
        self.trunk = Trunk()
        self.decoder = Decoder(feature_dim)
        # (1000, D) vectors of the ImageNet names, 0 for what the decoder was taught, (D,) their
        # mean over rooms, () the weight
        self.register_buffer("class_vectors", torch.zeros(NUM_IMAGENET, feature_dim))
        self.register_buffer("usual", torch.zeros(feature_dim))
        self.register_buffer("knowledge_weight", torch.tensor(0.0))

    def forward(self, image: Tensor, channels: Tensor | None = None) -> Tensor:
        """Unit features (B, D, H / 4, W / 4).

        Args:
            image: (B, 3, H, W) in 0..1, H and W multiples of 32.
            channels: (B, 8, H / 4, W / 4) of depth_channels, or None without depth.
        """
        maps = self.trunk((image - MEAN) / STD)
        if channels is None:
            size = (image.shape[-2] // DEPTH_STRIDE, image.shape[-1] // DEPTH_STRIDE)
            channels = image.new_zeros((len(image), NUM_CHANNELS, *size))
            channels = channels.contiguous(memory_format=torch.channels_last)
        words = enlarged(self.known(self.trunk.classify(maps[-1])), maps[0].shape[-2:])
        return self.combine(self.decoder(maps, channels), words)

    def words(self, logits: Tensor) -> Tensor:
        """(B, D, h, w): mean ImageNet word of every cell, by probability."""
        share = torch.softmax(logits.float() / TEMPERATURE, dim=1)
        return torch.einsum("bchw,cd->bdhw", share, self.class_vectors.float())

    def known(self, logits: Tensor) -> Tensor:
        """(B, D, h, w): `words` less what is usual in rooms."""
        return self.words(logits) - self.usual.float()[:, None, None]

    def combine(self, features: Tensor, words: Tensor) -> Tensor:
        """(N, D) or (N, D, ..) unit vectors of the decoder's features and of what is `known`."""
        learnt = features.float()
        length = torch.linalg.vector_norm(learnt, dim=1, keepdim=True)
        # instead of shortening the features to 1 before: another length, the same direction
        return normalize(torch.addcmul(learnt, self.knowledge_weight * length, words), dim=1)
