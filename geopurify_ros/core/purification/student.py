"""The student affinity network (GeoPurify, METHODS 1.2).

Stride 1 throughout: an embedding depends on the voxels within the receptive field and on nothing
else of the map, and moves with the lattice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, relu

from geopurify_ros.core.pauses import Pause, no_pause
from geopurify_ros.core.purification.embedding import geometric_embedding
from geopurify_ros.core.purification.scene import (
    GEOMETRY_CHANNELS,
    GEOMETRY_ONLY_CHANNELS,
    VoxelScene,
    inputs_of,
)
from geopurify_ros.core.purification.sparse_conv import KernelMap, SparseConv3d
from geopurify_ros.core.purification.tap_order import TapOrder, tap_order
from geopurify_ros.errors import ConfigError, InputError

_ROWS_AT_ONCE = 2048  # of what is done voxel by voxel


@dataclass(frozen=True)
class StudentShape:
    """Architecture of a student.

    Attributes:
        input: "features" (VLM feature, colour, normal) or "geometry" (no VLM channel).
        hidden: width of the body.
        blocks: residual blocks of two 3x3x3 convolutions.
        embedding_dim: E.
        stem: "conv" (3x3x3, the paper) or "linear" (1x1x1: most of the cost of a wide input).
        norm: "batch" (the paper) or "layer" (each voxel for itself: training on one scene at a
            time and use on another do the same).
        with_soft: the hand-made embedding stands beside the learnt one, in a learnt share (ours:
            what normals and colours tell need not be learnt from twenty scenes).
    """

    input: str = "features"
    hidden: int = 48
    blocks: int = 4
    embedding_dim: int = 64
    stem: str = "linear"
    norm: str = "layer"
    with_soft: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        for name, known in (("input", ("features", "geometry")), ("stem", ("linear", "conv")),
                            ("norm", ("layer", "batch"))):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"a student's {name} is {getattr(self, name)!r}, "
                    f"expected {' or '.join(known)}"
                )

    def in_channels(self, feature_dim: int) -> int:
        """Channels of `student_input` for features of this width."""
        if self.input == "geometry":
            return GEOMETRY_ONLY_CHANNELS
        return feature_dim + GEOMETRY_CHANNELS

    @property
    def num_convolutions(self) -> int:
        """3x3x3 ones, one after the other."""
        return 2 * self.blocks + (self.stem == "conv")

    @property
    def reach_voxels(self) -> int:
        """How far an embedding sees, along each axis; a density sees one voxel more."""
        return self.num_convolutions + (self.input == "geometry")


SMALL = StudentShape()
PAPER = StudentShape(
    hidden=512, embedding_dim=128, stem="conv", norm="batch", with_soft=False
)


class _Block(nn.Module):
    """conv-norm-ReLU-conv-norm, + identity, ReLU."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.conv_a, self.norm_a = SparseConv3d(width, width), _norm(norm, width)
        self.conv_b, self.norm_b = SparseConv3d(width, width), _norm(norm, width)

    def forward(self, x: Tensor, taps: KernelMap) -> Tensor:
        inner = relu(self.norm_a(self.conv_a(x, taps)))
        return relu(x + self.norm_b(self.conv_b(inner, taps)))

    def follow(
        self, x: Tensor, inner: Tensor, order: TapOrder, depth: int, pause: Pause
    ) -> None:
        """The same in place, for voxels that `depth` convolutions look at; no gradients.

        Norms and ReLU are done while a few rows are in the cache. `x` and `inner` are tables of
        the order; what `inner` held is lost.
        """
        for rows, values in order.convolved(x, self.conv_a.weight, depth + 1):
            torch.clamp_min(self.norm_a(values), 0.0, out=inner[rows])
            pause()
        for rows, values in order.convolved(inner, self.conv_b.weight, depth):
            torch.clamp_min(self.norm_b(values).add_(x[rows]), 0.0, out=x[rows])
            pause()


class StudentNet(nn.Module):
    """Stem, residual body, 1x1x1 head; unit-norm embeddings (METHODS 1.2)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: StudentShape, in_channels: int) -> None:
        """Random weights; `set_statistics` tells the network what its inputs are like."""
        super().__init__()
        self.shape = shape
        width = shape.hidden
        self.register_buffer("mean", torch.zeros(in_channels))
        self.register_buffer("scale", torch.ones(in_channels))
        self.stem: nn.Module = (
            SparseConv3d(in_channels, width) if shape.stem == "conv"
            else nn.Linear(in_channels, width, bias=False)
        )
        self.stem_norm = _norm(shape.norm, width)
        self.body = nn.ModuleList(_Block(width, shape.norm) for _ in range(shape.blocks))
        self.head = nn.Linear(width, shape.embedding_dim, bias=False)
        if shape.with_soft:
            self.head_share = nn.Parameter(torch.zeros(()))  # logit of the learnt part's share

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:  # (C,), (C,)
        """Inputs become (x - mean) / std; kept in the checkpoint."""
        self.mean.copy_(mean)
        self.scale.copy_(1.0 / std.clamp_min(1e-3))

    def forward(self, values: Tensor, taps: KernelMap) -> Tensor:  # (V, C) -> (V, E')
        """Unit-norm embeddings of all voxels of `taps`; E' is E, and more with `with_soft`.

        Raises:
            InputError: another number of channels than the network was made for.
        """
        geometry_at = 0 if self.shape.input == "geometry" else -GEOMETRY_CHANNELS
        geometry = values[:, geometry_at:]
        self._check(values.shape[1])
        x = (values - self.mean) * self.scale
        x = self.stem(x, taps) if self.shape.stem == "conv" else self.stem(x)
        x = relu(self.stem_norm(x))
        for block in self.body:
            x = block(x, taps)
        color = (127.5 * (geometry[:, :3] + 1.0)).clamp(0.0, 255.0)
        return self._join(normalize(self.head(x), dim=1), geometry[:, 3:6], color)

    def embed(self, scene: VoxelScene) -> Tensor:  # (V, E') float32
        """Embeddings of a map, the network as it is in use (eval mode)."""
        return self.joined(self.learnt(scene), scene.normal, scene.color)

    @torch.inference_mode()
    def learnt(
        self,
        scene: VoxelScene,
        rows: Tensor | None = None,  # (R,) int64, distinct
        pause: Pause = no_pause,
    ) -> Tensor:  # (V, E), or (R, E) float32 unit
        """What the head says of all voxels, or of some: then each layer does what they need.

        `scene` may be a piece of a map, with all voxels within `reach_voxels` of the wanted ones.

        Raises:
            InputError: another number of channels than the network was made for.
        """
        self.eval()
        self._check(self.shape.in_channels(scene.feature_dim))
        order = tap_order(scene.index, scene.coords, self.shape.num_convolutions, rows)
        x = self._entered(scene, order)
        inner = order.table(x.shape[1])
        for done, block in enumerate(self.body, start=1):
            assert isinstance(block, _Block)
            block.follow(x, inner, order, 2 * (self.shape.blocks - done), pause)
        del inner
        out = x.new_empty((order.ends[0], self.shape.embedding_dim))
        for part in _slices(len(out)):
            out[order.wanted[part]] = normalize(self.head(x[: len(out)][part]), dim=1)
        return out

    def _entered(self, scene: VoxelScene, order: TapOrder) -> Tensor:  # (N + 1, hidden)
        """Behind the stem, in the order; a wide input is never there as a whole for a linear one.

        The statistics are part of the stem's weights there, and the input is read once.
        """
        inputs = inputs_of(scene, order.rows, order.occupied, self.shape.input)
        x = order.table(self.shape.hidden)
        if isinstance(self.stem, nn.Linear):
            weight = self.stem.weight * self.scale
            bias = -(weight @ self.mean)
            for places, values in inputs:
                values = self.stem_norm(linear(values, weight, bias))
                x.index_copy_(0, places, values.clamp_min_(0.0))
            return x
        assert isinstance(self.stem, SparseConv3d)
        wide = order.table(len(self.mean))
        for places, values in inputs:
            wide[places] = (values - self.mean) * self.scale
        depth = 2 * self.shape.blocks
        for rows, values in order.convolved(wide, self.stem.weight, depth):
            torch.clamp_min(self.stem_norm(values), 0.0, out=x[rows])
        return x

    @torch.inference_mode()
    def joined(
        self,
        learnt: Tensor,  # (R, E), of `learnt`
        normals: Tensor,  # (R, 3) unit or zero
        colors: Tensor,  # (R, 3) 0..255
    ) -> Tensor:  # (R, E') float32 unit
        """Embeddings as neighbours are compared by: with the hand-made part, if there is one."""
        if not self.shape.with_soft:
            return learnt.to(torch.float32)
        width = self._join(learnt[:0], normals[:0], colors[:0]).shape[1]
        out = torch.empty((len(learnt), width), device=learnt.device)
        for part in _slices(len(learnt)):
            out[part] = self._join(learnt[part].to(torch.float32), normals[part], colors[part])
        return out

    def _join(self, learnt: Tensor, normals: Tensor, colors: Tensor) -> Tensor:  # (R, E')
        if not self.shape.with_soft:
            return learnt
        share = torch.sigmoid(self.head_share)
        soft = geometric_embedding(normals, colors)
        return torch.cat((share.sqrt() * learnt, (1.0 - share).sqrt() * soft), dim=1)

    def _check(self, channels: int) -> None:
        if channels != len(self.mean):
            raise InputError(
                f"the student takes {len(self.mean)} channels, the map gives {channels}: "
                "it was trained for another encoder"
            )


def _slices(count: int) -> list[slice]:
    """Some rows at a time; one empty slice of none, so that there is always a result."""
    return [slice(i, i + _ROWS_AT_ONCE) for i in range(0, max(1, count), _ROWS_AT_ONCE)]


def num_parameters(net: nn.Module) -> int:
    """Trained numbers."""
    return sum(p.numel() for p in net.parameters())


def _norm(kind: str, width: int) -> nn.Module:
    return nn.BatchNorm1d(width) if kind == "batch" else nn.LayerNorm(width)
