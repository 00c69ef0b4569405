"""Cases `feature_mean_update` and `fuse_frame`: a frame becomes part of a map, encoder apart."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import torch
from torch import Tensor

from geopurify_ros.config import Config
from geopurify_ros.core.mapping import fusion
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.evaluate.bench import scene
from geopurify_ros.evaluate.bench.plain import (
    PlainMap,
    plain_feature_mean,
    plain_groups,
    plain_update,
    same_map,
)
from geopurify_ros.evaluate.bench.timing import (
    Clock,
    Job,
    Setup,
    case,
    growth_exponent,
    in_turn,
    seconds,
)

_VOXEL_M = 0.05
_WIDE_DIM, _DIM = 512, 256
_HEIGHT_PX, _WIDTH_PX = 240, 320
_SIZES, _QUICK_SIZES = (100_000, 300_000, 1_000_000), (10_000, 20_000)


def copy_bandwidth(clock: Clock, repeats: int) -> float:
    """Bytes read and written per second by a large copy."""
    source = torch.ones(32 * 1024 * 1024, device=clock.device)
    target = torch.empty_like(source)
    runs = in_turn({"copy": lambda: target.copy_(source)}, repeats, clock)["copy"]
    return 2 * source.numel() * 4 / (statistics.median(runs) * 1e-3)


def bytes_per_voxel(device: torch.device) -> float:
    """Memory of a 100k-voxel map of 512-wide features, index included."""
    voxel_map = scene.filled_map(100_000, _WIDE_DIM, _VOXEL_M, device)
    return voxel_map.num_bytes / len(voxel_map)


def bench_feature_mean(setup: Setup) -> dict[str, Any]:
    """Mean feature per voxel of a 640x480 frame and its update into a 100k-voxel map."""
    frame = scene.frame(480, 640)
    grid = scene.feature_grid(_WIDE_DIM, 30, 40, setup.device)
    points = fusion.frame_points(frame, Config().depth, _VOXEL_M, setup.device)
    size = frame.depth_m.shape
    voxel_map = scene.filled_map(
        setup.either(100_000, 10_000), _WIDE_DIM, _VOXEL_M, setup.device
    )
    stored, weight = voxel_map.features(), voxel_map.weights()
    voxels = fusion.fuse_frame(points, grid, size)
    rows, num_new = voxel_map.index.insert(voxels.coords)
    stored = torch.cat((stored, stored.new_zeros((num_new, _WIDE_DIM))))
    weight = torch.cat((weight, weight.new_zeros(num_new)))
    group = plain_groups(points)
    expected = plain_feature_mean(points, grid, size, group, len(voxels.coords))
    equal = torch.allclose(voxels.bags.features(), expected, atol=1e-5)

    def plain() -> None:
        mean = plain_feature_mean(points, grid, size, group, len(voxels.coords))
        plain_update(stored, weight, rows, mean, voxels.weight)

    runs = in_turn({
        "fast": lambda: voxel_map.integrate(fusion.fuse_frame(points, grid, size), 0),
        "plain": plain,
    }, setup.repeats, setup.clock)  # fmt: skip
    return case(
        runs["fast"], runs["plain"], "per-pixel gather + index_add, float32 map", equal,
        roofline_share=_roofline_share(len(voxels.coords), runs["fast"], setup),
    )


def _roofline_share(num_voxels: int, runs_ms: list[float], setup: Setup) -> float:
    """Of the time it takes to read and write the rows of the map, in half precision."""
    bandwidth = copy_bandwidth(setup.clock, setup.repeats)
    least_ms = 1e3 * 2 * num_voxels * _WIDE_DIM * 2 / bandwidth
    return round(least_ms / statistics.median(runs_ms), 3)


def bench_fuse(setup: Setup) -> dict[str, Any]:
    """A 320x240 frame from depth image to map, D = 256; and how it grows with the map."""
    frame = scene.frame(_HEIGHT_PX, _WIDTH_PX)
    grid = scene.feature_grid(_DIM, _HEIGHT_PX // 4, _WIDTH_PX // 4, setup.device)
    jobs: dict[str, Job] = {}
    sizes = setup.either(_SIZES, _QUICK_SIZES)
    for num_voxels in sizes:
        voxel_map = scene.filled_map(num_voxels, _DIM, _VOXEL_M, setup.device)
        num_seen = _fuse(voxel_map, frame, grid)  # all of them are known from here on
        jobs[str(num_voxels)] = partial(_fuse, voxel_map, frame, grid)
        if num_voxels == sizes[0]:
            plain = PlainMap(len(voxel_map), _DIM, setup.device)
            jobs["plain"] = partial(_fuse_plainly, voxel_map, plain, frame, grid)
    runs = in_turn(jobs, setup.either(25, 3), setup.clock)
    by_size = {num_voxels: runs[str(num_voxels)] for num_voxels in sizes}
    return case(
        runs[str(sizes[0])], runs["plain"],
        "the same geometry, torch.unique, per-pixel gather + index_add",
        _is_same(frame, grid, setup),
        growth_exponent=growth_exponent(by_size), seconds=seconds(by_size),
        seen_voxels=num_seen,
    )


def _fuse(voxel_map: VoxelMap, frame: RgbdFrame, grid: Tensor) -> int:
    points = fusion.frame_points(frame, Config().depth, _VOXEL_M, voxel_map.device)
    voxels = fusion.fuse_frame(points, grid, frame.depth_m.shape)
    voxel_map.integrate(voxels, 0)
    return len(voxels.coords)


def _fuse_plainly(
    voxel_map: VoxelMap, plain_map: PlainMap, frame: RgbdFrame, grid: Tensor
) -> None:
    points = fusion.frame_points(frame, Config().depth, _VOXEL_M, voxel_map.device)
    plain_map.integrate(voxel_map.index, points, grid, frame.depth_m.shape)


def _is_same(frame: RgbdFrame, grid: Tensor, setup: Setup) -> bool:
    """Of three frames in a map of nothing else."""
    voxel_map = VoxelMap(_DIM, _VOXEL_M, setup.device)
    num_voxels = _fuse(voxel_map, frame, grid)
    plain_map = PlainMap(num_voxels, _DIM, setup.device)
    _fuse_plainly(voxel_map, plain_map, frame, grid)
    for _ in range(2):
        _fuse(voxel_map, frame, grid)
        _fuse_plainly(voxel_map, plain_map, frame, grid)
    return same_map(voxel_map, plain_map)
