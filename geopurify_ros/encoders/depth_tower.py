"""A small residual network on the channels of `depth_channels`: shape beside colour."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geopurify_ros.encoders.depth_channels import NUM_CHANNELS

STRIDE = 4  # of the channels, in pixels of the image that the trunk sees
WIDTHS = (48, 96, 128)  # of the maps of strides 8, 16 and 32
_BLOCKS = (2, 2, 1)


class _Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.layers(x))


class DepthTower(nn.Module):
    """(B, 8, H / 4, W / 4) -> maps of strides 8, 16 and 32, one for each level of the decoder."""

    def __init__(self) -> None:
        """Random weights."""
        super().__init__()
        width, levels = NUM_CHANNELS, []
        for wide, blocks in zip(WIDTHS, _BLOCKS, strict=True):
            halved = (
                nn.Conv2d(width, wide, 3, 2, 1, bias=False), nn.BatchNorm2d(wide),
                nn.ReLU(inplace=True),
            )  # fmt: skip
            levels.append(nn.Sequential(*halved, *(_Residual(wide) for _ in range(blocks))))
            width = wide
        self.levels = nn.ModuleList(levels)

    def forward(self, channels: Tensor) -> list[Tensor]:
        """Maps of WIDTHS channels."""
        maps = []
        for level in self.levels:
            channels = level(channels)
            maps.append(channels)
        return maps
