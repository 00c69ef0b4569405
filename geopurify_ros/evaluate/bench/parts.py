"""Cases `neighbour_graph`, `text_pooling` and `pack_cloud`: single steps."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geopurify_ros.config import Config
from geopurify_ros.core.purification.affinity import affinity_weights
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.pooling import pool
from geopurify_ros.evaluate.bench import scene
from geopurify_ros.evaluate.bench.plain import plain_neighbours, same_distances
from geopurify_ros.evaluate.bench.timing import Setup, case, growth_exponent, in_turn

_VOXEL_M = 0.05
_DIM, _PROMPTS = 512, 20
# centres (V, 3), rgb (V, 3), label (V,), score (V,) -> the bytes of the message
Packer = Callable[[Any, Any, Any, Any], Any]


def bench_neighbours(setup: Setup) -> dict[str, Any]:
    """K = 32 nearest voxels; the plain way is distances to all others, in blocks of rows."""
    num_neighbors = Config().purify.neighbors
    small, large = setup.either((12_000, 50_000), (3000, 12_000))
    coords: dict[int, Tensor] = {}
    fast = {}
    for size in (small, large):
        voxel_map = scene.filled_map(size, 4, _VOXEL_M, setup.device)
        coords[size] = voxel_map.coords()
        fast[size] = partial(
            nearest_neighbors, voxel_map.index, coords[size], num_neighbors
        )
    runs = in_turn({
        "small": fast[small], "large": fast[large],
        "plain": lambda: plain_neighbours(coords[small], num_neighbors),
    }, setup.repeats, setup.clock)  # fmt: skip
    expected = plain_neighbours(coords[small], num_neighbors)
    return case(
        runs["small"], runs["plain"], f"torch.cdist + topk, {small:,} voxels",
        same_distances(coords[small], fast[small](), expected),
        growth_exponent=growth_exponent({small: runs["small"], large: runs["large"]}),
        **{f"median_ms_{large // 1000}k": round(statistics.median(runs["large"]), 1)},
    )


def bench_text_pooling(setup: Setup) -> dict[str, Any]:
    """Pooling the scores of 20 prompts against pooling 512 channels, 50k voxels, float32."""
    settings = Config().purify
    size = setup.either(50_000, 3000)
    voxel_map = scene.filled_map(size, 4, _VOXEL_M, setup.device)
    graph = nearest_neighbors(voxel_map.index, voxel_map.coords(), settings.neighbors)
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.nn.functional.normalize(
        torch.randn((size, 16), generator=generator).to(setup.device), dim=1
    )
    affinity = affinity_weights(embeddings, graph, settings.affinity_scale)
    features = torch.randn((size, _DIM), generator=generator).to(setup.device)
    text = torch.randn((_DIM, _PROMPTS), generator=generator).to(setup.device)

    def in_text() -> Tensor:
        return pool(features @ text, affinity, settings.iterations)

    def in_features() -> Tensor:
        return pool(features, affinity, settings.iterations) @ text

    same = in_text().argmax(1) == in_features().argmax(1)
    runs = in_turn({"fast": in_text, "plain": in_features}, setup.either(2, 1), setup.clock)
    return case(
        runs["fast"], runs["plain"], f"{_DIM}-channel pooling, float32, {size:,} voxels",
        bool(same.float().mean() >= 0.9999),
    )


def bench_packing(setup: Setup, pack: Packer, plain_pack: Packer) -> dict[str, Any]:
    """A PointCloud2 of 200,000 labelled points; the plain way goes point by point."""
    count = setup.either(200_000, 5000)
    generator = np.random.default_rng(0)
    centers = generator.uniform(-5, 5, (count, 3))
    rgb = generator.integers(0, 255, (count, 3), dtype=np.uint8)
    label = generator.integers(0, 20, count)
    score = generator.uniform(0, 1, count).astype(np.float32)
    packed = pack(centers, rgb, label, score)
    equal = bytes(plain_pack(centers, rgb, label, score)) == bytes(packed)
    runs = in_turn({
        "fast": lambda: pack(centers, rgb, label, score),
        "plain": lambda: plain_pack(centers, rgb, label, score),
    }, 3, setup.clock)  # fmt: skip
    return case(runs["fast"], runs["plain"], f"struct.pack per point, {count:,} points", equal)
