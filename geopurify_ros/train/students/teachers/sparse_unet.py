"""A small sparse U-Net: the body of the self-supervised teacher."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, relu

from geopurify_ros.core.purification.sparse_conv import (
    KernelMap,
    SparseConv3d,
    index_of,
    strided_map,
    submanifold_map,
)

WIDTHS = (32, 48, 64, 96, 128)  # of the levels; a cell of the last is 16 voxels wide
FUSED = 256  # width of what all levels say together


@dataclass(frozen=True)
class Pyramid:
    """The tables of all levels of a set of voxels.

    Attributes:
        taps: 3x3x3 neighbours within each level.
        down: from each level to the next.
        parent: (V_l,) int64, row of the next level.
    """

    taps: list[KernelMap]
    down: list[KernelMap]
    parent: list[Tensor]


def pyramid_of(coords: Tensor, num_levels: int = len(WIDTHS)) -> Pyramid:  # (V, 3) int64
    """Tables for voxels `coords`, distinct."""
    taps, down, parent = [], [], []
    for level in range(num_levels):
        taps.append(submanifold_map(index_of(coords), coords))
        if level + 1 < num_levels:
            coords, table = strided_map(coords)
            down.append(table)
            parent.append(table.reverse.amin(dim=1).to(torch.int64))
    return Pyramid(taps, down, parent)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_a, self.norm_a = SparseConv3d(width, width), nn.LayerNorm(width)
        self.conv_b, self.norm_b = SparseConv3d(width, width), nn.LayerNorm(width)

    def forward(self, x: Tensor, taps: KernelMap) -> Tensor:
        inner = relu(self.norm_a(self.conv_a(x, taps)))
        return relu(x + self.norm_b(self.conv_b(inner, taps)))


class SparseUNet(nn.Module):
    """Features of every level, those of coarse cells repeated for their voxels."""

    def __init__(self, in_channels: int, widths: tuple[int, ...] = WIDTHS) -> None:
        """Random weights."""
        super().__init__()
        self.widths = widths
        pairs = list(itertools.pairwise(widths))
        self.stem = nn.Linear(in_channels, widths[0])
        self.encode = nn.ModuleList(_Residual(width) for width in widths)
        self.down = nn.ModuleList(SparseConv3d(a, b, 8) for a, b in pairs)
        self.up = nn.ModuleList(SparseConv3d(b, a, 8) for a, b in pairs)
        self.join = nn.ModuleList(nn.Linear(2 * a, a) for a, _ in pairs)
        self.decode = nn.ModuleList(_Residual(a) for a, _ in pairs)
        self.fuse = nn.Linear(sum(widths), FUSED)

    def forward(self, values: Tensor, pyramid: Pyramid) -> list[Tensor]:
        """(V, C) -> one (V, width) per level, finest first."""
        x, skipped = self.stem(values), []
        for level, block in enumerate(self.encode):
            x = block(x, pyramid.taps[level])
            if level < len(self.down):
                skipped.append(x)
                x = relu(self.down[level](x, pyramid.down[level]))
        levels = [x]
        for level in reversed(range(len(self.up))):
            up = relu(self.up[level](x, pyramid.down[level].transposed))
            x = relu(self.join[level](torch.cat((skipped[level], up), dim=1)))
            x = self.decode[level](x, pyramid.taps[level])
            levels.insert(0, x)
        return [_at_voxels(one, level, pyramid) for level, one in enumerate(levels)]

    def fused(self, levels: list[Tensor]) -> Tensor:  # of `forward`, or some rows -> (R, FUSED)
        """All levels in one, the output of the network: the training asks nothing else."""
        return gelu(self.fuse(torch.cat(levels, dim=1)))


def _at_voxels(values: Tensor, level: int, pyramid: Pyramid) -> Tensor:
    for parent in reversed(pyramid.parent[:level]):
        values = values.index_select(0, parent)
    return values
