"""The student affinity network (GeoPurify, METHODS 1.2) and its one input.

Stride 1 throughout: an embedding depends on the voxels within the receptive field and on nothing
else of the map, and moves with the lattice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from geopurify_ros.core.mapping.block_index import BlockIndex
from geopurify_ros.core.mapping.map_records import MapSnapshot
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.core.purification.embedding import geometric_embedding
from geopurify_ros.core.purification.sparse_conv import KernelMap, SparseConv3d, submanifold_map
from geopurify_ros.errors import ConfigError, InputError

GEOMETRY_CHANNELS = 6  # colour and normal, beside the features
GEOMETRY_ONLY_CHANNELS = 8  # colour, normal, density, height
_MAX_HEIGHT_M = 3.0
_ROWS_AT_ONCE = 8192  # of the wide input of a linear stem
_FLOOR_QUANTILE = 0.02  # of the heights: what lies lower is noise


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
    def reach_voxels(self) -> int:
        """How far an embedding sees, along each axis."""
        return 2 * self.blocks + (self.stem == "conv")


SMALL = StudentShape()
PAPER = StudentShape(
    hidden=512, embedding_dim=128, stem="conv", norm="batch", with_soft=False
)


@dataclass(frozen=True)
class VoxelScene:
    """What a student or a teacher may know of a map; V voxels.

    Attributes:
        index: rows are those of the other tensors.
        coords: (V, 3) int64.
        features: (V, D) float16 or float32, of the image-text encoder.
        color: (V, 3) float32, 0..255.
        normal: (V, 3) float32, unit or zero.
        up: (3,) float64 unit, away from the floor, in the frame of the map.
        voxel_size_m: edge of a voxel.
    """

    index: BlockIndex
    coords: Tensor
    features: Tensor
    color: Tensor
    normal: Tensor
    up: Tensor
    voxel_size_m: float
    floor_m: float | None = None

    def __len__(self) -> int:
        """Number of voxels V."""
        return len(self.coords)


def scene_of_map(voxel_map: VoxelMap, up: Tensor) -> VoxelScene:
    """A map as a scene; `up` (3,) need not be of unit length."""
    chunks = [chunk for _, chunk in voxel_map.feature_chunks()]
    return _scene(voxel_map, voxel_map.index, voxel_map.coords(), chunks, up)


def _scene(
    content: VoxelMap | MapSnapshot,
    index: BlockIndex,
    coords: Tensor,  # (V, 3) int64
    chunks: Sequence[Tensor],  # (R, D) float16
    up: Tensor,  # (3,)
) -> VoxelScene:
    empty = torch.zeros((0, content.feature_dim), dtype=torch.float16, device=coords.device)
    return VoxelScene(
        index, coords, torch.cat([empty, *chunks]), content.colors(), content.normals(),
        normalize(up.to(torch.float64).cpu(), dim=0), content.voxel_size_m,
    )


def height_m(scene: VoxelScene) -> Tensor:  # (V,) float32
    """Height above the lowest voxels along `up`, 0..3 m."""
    height = (scene.coords.to(torch.float64) @ scene.up.to(scene.coords.device))
    height = height * scene.voxel_size_m
    if len(height):
        floor = height.kthvalue(1 + int(_FLOOR_QUANTILE * (len(height) - 1))).values
        height = (height - floor).clamp(0.0, _MAX_HEIGHT_M)
    return height.to(torch.float32)


def geometry_channels(scene: VoxelScene, taps: KernelMap, kind: str) -> Tensor:  # (V, 6 or 8)
    """Colour (-1..1) and normal; for kind "geometry" also density and height.

    Density is the share of occupied voxels among the 26 neighbours, height is in metres.
    """
    color_normal = torch.cat((scene.color / 127.5 - 1.0, scene.normal), dim=1)
    if kind == "features":
        return color_normal
    occupied = (taps.taps < len(scene)).sum(dim=1).to(torch.float32) - 1.0
    extra = torch.stack((occupied / 26.0, height_m(scene)), dim=1)
    return torch.cat((color_normal, extra), dim=1)


def student_input(
    features: Tensor,  # (V, D) float16 or float32
    geometry: Tensor,  # (V, 6 or 8), of `geometry_channels`
    kind: str,
) -> Tensor:  # (V, D + 6) or (V, 8) float32
    """What a student sees, in training and in the node (METHODS 1.13 B1).

    "features": feature, colour, normal; "geometry": colour, normal, density, height.
    """
    if kind == "features":
        return torch.cat((features.to(torch.float32), geometry), dim=1)
    return geometry


class _Block(nn.Module):
    """conv-norm-ReLU-conv-norm, + identity, ReLU."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.conv_a, self.norm_a = SparseConv3d(width, width), _norm(norm, width)
        self.conv_b, self.norm_b = SparseConv3d(width, width), _norm(norm, width)

    def forward(self, x: Tensor, taps: KernelMap) -> Tensor:
        inner = relu(self.norm_a(self.conv_a(x, taps)))
        return relu(x + self.norm_b(self.conv_b(inner, taps)))


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
        return self._follow(self._enter(values, taps), taps, values[:, geometry_at:])

    @torch.inference_mode()
    def embed(self, scene: VoxelScene) -> Tensor:  # (V, E') float32
        """Embeddings of a map, the network as it is in use (eval mode).

        A linear stem takes the wide input some rows at a time: no float32 copy of the map.
        """
        self.eval()
        kind = self.shape.input
        taps = submanifold_map(scene.index, scene.coords)
        geometry = geometry_channels(scene, taps, kind)
        size = _ROWS_AT_ONCE if self.shape.stem == "linear" else max(1, len(scene))
        parts = [
            self._enter(student_input(scene.features[rows], geometry[rows], kind), taps)
            for rows in (slice(i, i + size) for i in range(0, max(1, len(scene)), size))
        ]
        return self._follow(torch.cat(parts), taps, geometry)

    def learnt(self, scene, rows=None):
        import dataclasses
        if isinstance(scene.features, tuple):
            scene = dataclasses.replace(scene, features=torch.cat(scene.features))
        full = self.embed(scene)
        E = self.shape.embedding_dim
        out = normalize(full[:, :E], dim=1)
        return out if rows is None else out[rows]

    def joined(self, learnt, normals, colors):
        if not self.shape.with_soft:
            return learnt
        share = torch.sigmoid(self.head_share)
        soft = geometric_embedding(normals, colors)
        return torch.cat((share.sqrt() * learnt, (1.0 - share).sqrt() * soft), dim=1)

    def _enter(self, values: Tensor, taps: KernelMap) -> Tensor:  # (R, C) -> (R, hidden)
        if values.shape[1] != len(self.mean):
            raise InputError(
                f"the student takes {len(self.mean)} channels, the map gives {values.shape[1]}: "
                "it was trained for another encoder"
            )
        x = (values - self.mean) * self.scale
        x = self.stem(x, taps) if self.shape.stem == "conv" else self.stem(x)
        return relu(self.stem_norm(x))

    def _follow(self, x: Tensor, taps: KernelMap, geometry: Tensor) -> Tensor:
        """(V, hidden) and (V, 6 or 8) -> (V, E')."""
        for block in self.body:
            x = block(x, taps)
        learnt = normalize(self.head(x), dim=1)
        if not self.shape.with_soft:
            return learnt
        share = torch.sigmoid(self.head_share)
        color = (127.5 * (geometry[:, :3] + 1.0)).clamp(0.0, 255.0)
        soft = geometric_embedding(geometry[:, 3:6], color)
        return torch.cat((share.sqrt() * learnt, (1.0 - share).sqrt() * soft), dim=1)


def num_parameters(net: nn.Module) -> int:
    """Trained numbers."""
    return sum(p.numel() for p in net.parameters())


def _norm(kind: str, width: int) -> nn.Module:
    return nn.BatchNorm1d(width) if kind == "batch" else nn.LayerNorm(width)


def floor_of(scene):
    height = (scene.coords.to(torch.float64) @ scene.up) * scene.voxel_size_m
    return float(height.kthvalue(1 + int(_FLOOR_QUANTILE * (len(height) - 1))).values)
