"""A flat of furnished rooms in a row, as a map of its surfaces and as keyframes of the first room.

Maps grow by more rooms, farther away: what a keyframe sees and what lies around it is the same in
all of them. Surfaces are rough, colours and features noisy: labels and pieces look like those of
real maps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.mapping.fusion import FeatureBags, FrameVoxels
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.evaluate.bench.oracle import NUM_CLASSES, Oracle

VOXEL_M = 0.05
SEEN_VOXELS = 6000  # by a keyframe
# Of a room, what a hand-held camera saw of its walls, and between two rooms; voxels.
_SIDE, _HEIGHT, _WALL = 80, 30, 3
_FLOOR, _WALLS, _BOXES = 0, 1, 5  # pieces of a room; four walls, then furniture
# x, y, width, depth, height of furniture, voxels
_FURNITURE = (
    (2, 20, 18, 40, 9), (30, 2, 26, 10, 15), (64, 4, 12, 14, 24), (40, 40, 20, 14, 14),
    (34, 44, 5, 5, 9), (66, 56, 10, 20, 10),
)  # fmt: skip
_MISSING, _DOUBLED = 0.03, 0.06  # shares of voxels: holes, and surfaces two voxels thick
_LATE = 61  # one in so many patches of 4^3 voxels is in no map yet
_EYE_M, _PATH_M, _TURN_RAD = 1.4, 0.5, 0.08  # height, circle and step of the camera
# That a voxel was seen by, the median, and how far the numbers are apart, in logarithms.
_MAP_PIXELS, _FRAME_PIXELS, _SPREAD = 30.0, 8.0, 0.8


@dataclass(frozen=True)
class Surfaces:
    """Voxels of a room.

    Attributes:
        coords: (N, 3) int64, distinct, sorted lexicographically.
        normal: (N, 3) unit.
        piece: (N,) int64, floor, walls, furniture.
    """

    coords: Tensor
    normal: Tensor
    piece: Tensor

    def __len__(self) -> int:
        """Number of voxels N."""
        return len(self.coords)

    def at(self, rows: Tensor) -> Surfaces:  # (M,) int64 or (N,) bool
        """Some of them."""
        return Surfaces(self.coords[rows], self.normal[rows], self.piece[rows])


def fill(pipeline: Pipeline, oracle: Oracle, num_voxels: int) -> None:
    """Fuse rooms into the map, quarter by quarter, until it has so many voxels."""
    number = 0
    while (missing := num_voxels - len(pipeline.map)) > 0:
        room = furnished_room(number)
        room = room.at(~_is_late(room.coords))
        for part in torch.tensor_split(torch.arange(min(len(room), missing)), 4):
            seen = _seen(room.at(part), oracle, number, view=0, pixels=_MAP_PIXELS)
            fuse(pipeline, oracle, seen)
        number += 1


def keyframe(oracle: Oracle, number: int) -> FrameVoxels:
    """What a camera that walks and turns in the first room sees: 6000 voxels, some of them new."""
    room = furnished_room(0)
    rows = _nearest_to_axis(room, number * _TURN_RAD)
    return _seen(room.at(rows), oracle, 0, view=number + 1, pixels=_FRAME_PIXELS)


def fuse(pipeline: Pipeline, oracle: Oracle, seen: FrameVoxels) -> None:
    """Into the map of a pipeline, as of an upright camera."""
    device = pipeline.device
    bags = FeatureBags.of(seen.bags.cells.to(device))
    seen = FrameVoxels(
        seen.coords.to(device), bags, seen.color.to(device), seen.normal.to(device),
        seen.weight.to(device),
    )  # fmt: skip
    pose = np.eye(4)
    pose[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    image = np.zeros((1, 1, 3), np.uint8)
    frame = RgbdFrame(image, np.ones((1, 1), np.float32), np.eye(3), pose, 0)
    pipeline.lifted.integrate(seen, frame, pipeline.config.fusion, oracle)


def furnished_room(number: int) -> Surfaces:
    """The `number`-th room of the row along x; 20,600 voxels."""
    boxes = [_box(_BOXES + k, *place) for k, place in enumerate(_FURNITURE)]
    inside = torch.zeros((_SIDE, _SIDE), dtype=torch.bool)
    for x, y, width, depth, _ in _FURNITURE:
        inside[x : x + width, y : y + depth] = True
    i, j = torch.nonzero(~inside).unbind(dim=1)
    floor = _surface(torch.stack((i, j, torch.zeros_like(i)), dim=1), (0, 0, 1), _FLOOR)
    along, up = torch.cartesian_prod(torch.arange(_SIDE), torch.arange(1, _HEIGHT)).unbind(dim=1)
    walls = []
    for k, (axis, end, sign) in enumerate(((0, 0, 1), (0, 1, -1), (1, 0, 1), (1, 1, -1))):
        fixed = torch.full_like(along, end * (_SIDE - 1))
        places = (fixed, along, up) if axis == 0 else (along, fixed, up)
        normal = (sign, 0, 0) if axis == 0 else (0, sign, 0)
        walls.append(_surface(torch.stack(places, dim=1), normal, _WALLS + k))
    room = _rough(_joined([*boxes, floor, *walls]), number)
    shift = torch.tensor([number * (_SIDE + _WALL), 0, 0])
    return replace(room, coords=room.coords + shift)


def _box(piece: int, x: int, y: int, width: int, depth: int, height: int) -> Surfaces:
    """Top and four sides."""
    i, j, k = torch.cartesian_prod(
        torch.arange(width), torch.arange(depth), torch.arange(1, height + 1)
    ).unbind(dim=1)
    sides = (
        (k == height, (0, 0, 1)), (i == 0, (-1, 0, 0)), (i == width - 1, (1, 0, 0)),
        (j == 0, (0, -1, 0)), (j == depth - 1, (0, 1, 0)),
    )  # fmt: skip
    places = torch.stack((i + x, j + y, k), dim=1)
    return _joined([_surface(places[chosen], normal, piece) for chosen, normal in sides])


def _surface(coords: Tensor, normal: tuple[int, int, int], piece: int) -> Surfaces:
    normals = torch.tensor(normal, dtype=torch.float32).repeat(len(coords), 1)
    return Surfaces(coords, normals, torch.full((len(coords),), piece))


def _joined(parts: list[Surfaces]) -> Surfaces:
    """All of them; of voxels that lie in several the first counts."""
    coords = torch.cat([one.coords for one in parts])
    low, size = coords.amin(dim=0), coords.amax(dim=0) - coords.amin(dim=0) + 1
    x, y, z = (coords - low).unbind(dim=1)
    key, order = torch.sort((x * size[1] + y) * size[2] + z, stable=True)
    first = torch.ones(len(key), dtype=torch.bool)
    first[1:] = key[1:] != key[:-1]
    whole = Surfaces(coords, *(torch.cat([getattr(one, name) for one in parts])
                               for name in ("normal", "piece")))  # fmt: skip
    return whole.at(order[first])


def _rough(room: Surfaces, number: int) -> Surfaces:
    """With holes, and some voxels in front of the surface, as depth noise leaves them."""
    chance = torch.rand(len(room), generator=torch.Generator().manual_seed(number))
    doubled = room.at(chance < _DOUBLED)
    in_front = replace(doubled, coords=doubled.coords + doubled.normal.to(torch.int64))
    return _joined([room.at(chance < 1.0 - _MISSING), in_front])


def _is_late(coords: Tensor) -> Tensor:  # (N,) bool
    """Patches that no camera has seen before the keyframes."""
    x, y, z = (coords >> 2).unbind(dim=1)
    return (x * 7 + y * 13 + z * 31) % _LATE == 0


def _nearest_to_axis(room: Surfaces, angle_rad: float) -> Tensor:  # (SEEN_VOXELS,) int64
    """What faces the camera and is nearest to its optical axis, which looks slightly down."""
    turned = np.array([np.cos(angle_rad), np.sin(angle_rad), -0.25])
    middle = np.array([_SIDE / 2, _SIDE / 2, 0.0])
    camera = middle - turned * (_PATH_M / VOXEL_M)
    camera[2] = _EYE_M / VOXEL_M
    ray = normalize(room.coords + 0.5 - torch.from_numpy(camera), dim=1)
    cosine = ray @ normalize(torch.from_numpy(turned), dim=0)
    cosine[(ray * room.normal).sum(dim=1) > -0.05] = -1.0  # it looks away
    return torch.sort(cosine.topk(SEEN_VOXELS).indices).values


def _seen(
    surfaces: Surfaces, oracle: Oracle, room: int, view: int, pixels: float
) -> FrameVoxels:
    """Voxels of a room as one view shows them."""
    generator = torch.Generator().manual_seed(1000 * room + view + 1)
    noise = torch.randn((2, len(surfaces), 3), generator=generator)
    spread = torch.randn(len(surfaces), generator=generator).mul(_SPREAD).exp()
    palette = torch.Generator().manual_seed(room)
    pieces = _BOXES + len(_FURNITURE)
    colors = 40.0 + 190.0 * torch.rand((pieces, 3), generator=palette)
    names = torch.randint(2, NUM_CLASSES, (pieces,), generator=palette)
    names[_FLOOR], names[_WALLS:_BOXES] = 0, 1
    features = oracle.features(surfaces.piece, names, palette, generator)
    return FrameVoxels(
        surfaces.coords, FeatureBags.of(features),
        (colors[surfaces.piece] + 4.0 * noise[0]).clamp(0.0, 255.0),
        0.95 * normalize(surfaces.normal + 0.05 * noise[1], dim=1),
        (pixels * spread).round().clamp_min(1.0),
    )  # fmt: skip
