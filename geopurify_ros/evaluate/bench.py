"""`geopurify bench`: the hot paths against the plain way of writing them, in one run.

Machines are shared: each case alternates fast and plain and reports medians, and the ratio is
what counts. `equal` says that both gave the same result.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geopurify_ros.config import Config
from geopurify_ros.core.mapping import fusion
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.core.purification.affinity import affinity_weights
from geopurify_ros.core.purification.neighbors import NeighborGraph, nearest_neighbors
from geopurify_ros.core.purification.pooling import pool
from geopurify_ros.evaluate import bench_scene
from geopurify_ros.evaluate.bench_plain import (
    PlainMap,
    plain_feature_mean,
    plain_groups,
    plain_neighbours,
    plain_update,
    same_distances,
    same_map,
)
from geopurify_ros.evaluate.bench_query import bench_query
from geopurify_ros.evaluate.bench_timing import alternate, growth_exponent

_DIM = 512
_VOXEL_M = 0.05
_PROMPTS = 20
_QUERY_VOXELS = (61_440, 243_000)
# centres (V, 3), rgb (V, 3), label (V,), score (V,) -> the bytes of the message
Packer = Callable[[Any, Any, Any, Any], Any]


def run_bench(
    quick: bool = False, packers: tuple[Packer, Packer] | None = None
) -> dict[str, Any]:
    """All cases; about a minute, `quick` a third of it.

    `packers` are the node's way and the plain way to pack a cloud; they need ROS.
    """
    repeats = 3 if quick else 9
    with torch.inference_mode():
        bandwidth = copy_bandwidth(repeats)
        cases = {
            "feature_mean_update": bench_feature_mean(repeats, bandwidth),
            "fuse_frame": bench_fuse(repeats),
            "neighbour_graph": bench_neighbours(repeats),
            "text_pooling": bench_text_pooling(max(3, repeats // 3)),
            "query": bench_query(repeats, _QUERY_VOXELS[: 1 if quick else None]),
        }
        if packers is not None:
            cases["pack_cloud"] = bench_packing(repeats, *packers)
        memory = bytes_per_voxel()
    return {
        "machine": machine(),
        "copy_gb_per_s": round(bandwidth / 1e9, 2),
        "map_bytes_per_voxel": round(memory, 1),
        "cases": cases,
    }


def machine() -> str:
    """Processor, threads and versions: what the figures belong to."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        pass
    return (
        f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )


def copy_bandwidth(repeats: int) -> float:
    """Bytes read and written per second by a large copy."""
    source = torch.ones(32 * 1024 * 1024)
    target = torch.empty_like(source)
    timing = alternate(lambda: target.copy_(source), None, repeats)
    return 2 * source.numel() * 4 / (statistics.median(timing.fast_ms) * 1e-3)


def bench_feature_mean(repeats: int, bandwidth: float) -> dict[str, Any]:
    """Mean feature per voxel of a 640x480 frame and its update into a 100k-voxel map."""
    frame, grid = bench_scene.frame(480, 640), bench_scene.feature_grid(_DIM, 30, 40)
    points = fusion.frame_points(frame, Config().depth, _VOXEL_M, torch.device("cpu"))
    voxel_map = bench_scene.filled_map(100_000, _DIM, _VOXEL_M)
    size = frame.depth_m.shape
    stored, weight = voxel_map.features(), voxel_map.weights()
    voxels = fusion.fuse_frame(points, grid, size)
    rows, _ = voxel_map.index.insert(voxels.coords)
    stored = torch.cat((stored, torch.zeros(len(voxel_map) - len(stored), _DIM)))
    weight = torch.cat((weight, torch.zeros(len(voxel_map) - len(weight))))
    group = plain_groups(points)
    expected = plain_feature_mean(points, grid, size, group, len(voxels.coords))
    equal = torch.allclose(voxels.bags.features(), expected, atol=1e-5)

    def fast() -> None:
        voxel_map.integrate(fusion.fuse_frame(points, grid, size), 0)

    def plain() -> None:
        mean = plain_feature_mean(points, grid, size, group, len(voxels.coords))
        plain_update(stored, weight, rows, mean, voxels.weight)

    timing = alternate(fast, plain, repeats)
    # read and written at the least: the rows of the map, in half precision
    least_bytes = 2 * len(voxels.coords) * _DIM * 2
    least_ms = 1e3 * least_bytes / bandwidth
    return timing.case(
        "per-pixel gather + index_add, float32 map", equal,
        roofline_share=round(least_ms / statistics.median(timing.fast_ms), 3),
    )


def bench_fuse(repeats: int) -> dict[str, Any]:
    """A frame from depth image to map, encoder apart; and how it grows with the map."""
    frame, grid = bench_scene.frame(480, 640), bench_scene.feature_grid(_DIM, 30, 40)
    size, depth = frame.depth_m.shape, Config().depth

    def fast(voxel_map: VoxelMap) -> None:
        points = fusion.frame_points(frame, depth, _VOXEL_M, torch.device("cpu"))
        voxel_map.integrate(fusion.fuse_frame(points, grid, size), 0)

    def plain(voxel_map: VoxelMap, plain_map: PlainMap) -> None:
        points = fusion.frame_points(frame, depth, _VOXEL_M, torch.device("cpu"))
        plain_map.integrate(voxel_map.index, points, grid, size)

    growth = {}
    for num_voxels in (25_000, 100_000):
        voxel_map = bench_scene.filled_map(num_voxels, _DIM, _VOXEL_M)
        fast(voxel_map)  # every voxel of the frame is known from here on
        plain_map = PlainMap(len(voxel_map), _DIM)
        growth[num_voxels] = alternate(
            partial(fast, voxel_map), partial(plain, voxel_map, plain_map), repeats
        )
    small, small_plain = VoxelMap(_DIM, _VOXEL_M), PlainMap(2 * len(voxel_map), _DIM)
    for _ in range(3):
        fast(small)
        plain(small, small_plain)
    return growth[100_000].case(
        "the same geometry, torch.unique, per-pixel gather + index_add",
        same_map(small, small_plain),
        growth_exponent=growth_exponent({n: t.fast_ms for n, t in growth.items()}),
    )


def bench_neighbours(repeats: int) -> dict[str, Any]:
    """K = 32 nearest voxels; the plain way is distances to all others, in blocks of rows."""
    num_neighbors = Config().purify.neighbors
    runs, graphs = {}, {}
    for num_voxels in (12_000, 50_000):
        voxel_map = bench_scene.filled_map(num_voxels, 4, _VOXEL_M)
        coords = voxel_map.coords()

        def fast(voxel_map: VoxelMap = voxel_map, coords: Tensor = coords) -> NeighborGraph:
            return nearest_neighbors(voxel_map.index, coords, num_neighbors)

        graphs[num_voxels] = (coords, fast())
        def plain(coords: Tensor = coords) -> Tensor:
            return plain_neighbours(coords, num_neighbors)

        small = num_voxels < 20_000
        runs[num_voxels] = alternate(fast, plain if small else None, repeats)
    coords, graph = graphs[12_000]
    equal = same_distances(coords, graph, plain_neighbours(coords, num_neighbors))
    case = runs[12_000].case(
        "torch.cdist + topk, 12,000 voxels", equal,
        growth_exponent=growth_exponent({n: t.fast_ms for n, t in runs.items()}),
    )
    case["median_ms_50k"] = round(statistics.median(runs[50_000].fast_ms), 1)
    return case


def bench_text_pooling(repeats: int) -> dict[str, Any]:
    """Pooling the scores of 20 prompts against pooling 512 channels, 50k voxels, float32."""
    settings = Config().purify
    voxel_map = bench_scene.filled_map(50_000, 4, _VOXEL_M)
    graph = nearest_neighbors(voxel_map.index, voxel_map.coords(), settings.neighbors)
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.nn.functional.normalize(
        torch.randn((len(voxel_map), 16), generator=generator), dim=1
    )
    affinity = affinity_weights(embeddings, graph, settings.affinity_scale)
    features = torch.randn((len(voxel_map), _DIM), generator=generator)
    text = torch.randn((_DIM, _PROMPTS), generator=generator)
    scores = features @ text
    in_text = pool(scores, affinity, settings.iterations)
    in_features = pool(features, affinity, settings.iterations) @ text
    equal = bool((in_text.argmax(1) == in_features.argmax(1)).float().mean() >= 0.9999)
    timing = alternate(
        lambda: pool(features @ text, affinity, settings.iterations),
        lambda: pool(features, affinity, settings.iterations) @ text,
        repeats,
    )
    return timing.case("512-channel pooling, float32", equal)


def bench_packing(repeats: int, pack: Packer, plain_pack: Packer) -> dict[str, Any]:
    """A PointCloud2 of 200,000 labelled points; the plain way goes point by point."""
    generator = np.random.default_rng(0)
    centers = generator.uniform(-5, 5, (200_000, 3))
    rgb = generator.integers(0, 255, (200_000, 3), dtype=np.uint8)
    label = generator.integers(0, 20, 200_000)
    score = generator.uniform(0, 1, 200_000).astype(np.float32)
    packed = pack(centers, rgb, label, score)
    equal = bytes(plain_pack(centers, rgb, label, score)) == bytes(packed)
    timing = alternate(
        lambda: pack(centers, rgb, label, score),
        lambda: plain_pack(centers, rgb, label, score),
        min(3, repeats),
    )
    return timing.case("struct.pack per point", equal)


def bytes_per_voxel() -> float:
    """Memory of a 100k-voxel map of 512-wide features, index included."""
    voxel_map = bench_scene.filled_map(100_000, _DIM, _VOXEL_M)
    return voxel_map.num_bytes / len(voxel_map)


def format_bench(result: dict[str, Any]) -> str:
    """A line per case."""
    lines = [result["machine"], f"copy {result['copy_gb_per_s']} GB/s, map "
             f"{result['map_bytes_per_voxel']} bytes per voxel (D = {_DIM})"]
    for name, case in result["cases"].items():
        lines.append(
            f"{name:22} {case['median_ms']:9.2f} ms  x{case['ratio']} against {case['peer']} "
            f"({case['peer_ms']} ms), equal: {case['equal']}"
        )
    query = result["cases"]["query"]
    lines.append(
        f"a purified voxel takes {query['kept_bytes_per_voxel']:.0f} bytes, and "
        f"{query['affinity_bytes_per_voxel']:.0f} of affinity"
    )
    lines += [
        f"query of {voxels:,} voxels: {of['cpu_ms']:.0f} ms of processor time, raw labels "
        f"{of['raw_cpu_ms']:.0f} ms more" for voxels, of in query["by_voxels"].items()
    ]  # fmt: skip
    return "\n".join(lines)


