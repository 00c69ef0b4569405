"""Case `purify_full`: a pass over all of a map, stage by stage, and beside the plain way."""

from __future__ import annotations

import statistics
from typing import Any

from geopurify_ros.core.answers.query import TextQuery, VoxelLabels
from geopurify_ros.core.mapping.block_index import spatial_order
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.job import PurifyJob
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.purified import Purified
from geopurify_ros.evaluate.bench import flat
from geopurify_ros.evaluate.bench.oracle import oracle_pipeline
from geopurify_ros.evaluate.bench.plain_pass import gathered, plain_pass, sparse
from geopurify_ros.evaluate.bench.same_answer import difference, is_same_answer
from geopurify_ros.evaluate.bench.timing import (
    Setup,
    StageClock,
    case,
    growth_exponent,
    in_turn,
    seconds,
)

SIZES, _QUICK_SIZES = (61_440, 243_000, 730_000), (3000, 6000)
PLAIN_VOXELS, _QUICK_PLAIN_VOXELS = 20_000, 2000
_LARGE = 500_000  # voxels: once is enough


def bench_full(setup: Setup) -> dict[str, Any]:
    """Seconds of each stage by size of the map; times of the plain way are of a small one."""
    plain = _against_plain(setup)
    runs: dict[int, list[float]] = {}
    stages: dict[int, dict[str, float]] = {}
    for size in setup.either(SIZES, _QUICK_SIZES):
        repeats = 1 if setup.is_quick or size >= _LARGE else 3
        runs[size], stages[size] = _staged(size, repeats, setup)
    return plain | {
        "growth_exponent": growth_exponent(runs), "seconds": seconds(runs), "stages_s": stages,
    }  # fmt: skip


def _staged(
    num_voxels: int, repeats: int, setup: Setup
) -> tuple[list[float], dict[str, float]]:
    """Milliseconds of whole passes, and the median seconds of their stages."""
    pipeline, oracle, watch = oracle_pipeline(setup.clock)
    flat.fill(pipeline, oracle, num_voxels)
    whole: list[float] = []
    stages: dict[str, list[float]] = {}
    for _ in range(repeats):
        job = pipeline.purify_job(is_full=True)
        made, passed = setup.clock.timed(job.run)
        assert isinstance(made, Purified)
        whole.append(passed)
        for name, taken in _stages(job, made, watch, passed, setup).items():
            stages.setdefault(name, []).append(taken / 1e3)
    return whole, {name: round(statistics.median(runs), 3) for name, runs in stages.items()}


def _stages(
    job: PurifyJob, made: Purified, watch: StageClock, passed_ms: float, setup: Setup
) -> dict[str, float]:
    """Milliseconds; what the pass measures as one, graph and affinity, is done once more."""
    measured, task = watch.taken_ms(), job.task
    coords, learnt = task.shot.coords.long(), made.learnt
    assert learnt is not None
    order = spatial_order(coords)
    count = task.settings.neighbors
    graph, graph_ms = setup.clock.timed(
        lambda: nearest_neighbors(task.shot.index, coords, count, order)
    )
    _, affinity_ms = setup.clock.timed(lambda: task.weighed(order, graph, learnt.__getitem__))
    return {
        "embed": measured["embed"], "graph": graph_ms, "affinity": affinity_ms,
        "pooling": measured["pool"], "rest": passed_ms - sum(measured.values()),
    }  # fmt: skip


def _against_plain(setup: Setup) -> dict[str, Any]:
    """20 prompts of a map that is purified for them, and the same by two plain ways to pool."""
    pipeline, oracle, _ = oracle_pipeline(setup.clock)
    num_voxels = setup.either(PLAIN_VOXELS, _QUICK_PLAIN_VOXELS)
    flat.fill(pipeline, oracle, num_voxels)
    asked = TextQuery(oracle.classes, (), 0.0)
    found = purified_labels(pipeline, asked)
    apart = difference(found, plain_pass(pipeline, asked, sparse))
    runs = in_turn({
        "fast": lambda: purified_labels(pipeline, asked),
        "sparse": lambda: plain_pass(pipeline, asked, sparse),
        "gathered": lambda: plain_pass(pipeline, asked, gathered),
    }, setup.either(2, 1), setup.clock, has_warm_up=False)  # fmt: skip
    fast, product = (statistics.median(runs[name]) for name in ("fast", "sparse"))
    return case(
        runs["fast"], runs["gathered"],
        "cdist + topk, 27 products per convolution, neighbours of all 256 channels gathered "
        f"{pipeline.config.purify.iterations} times; {num_voxels:,} voxels, {len(asked.prompts)} "
        "prompts", is_same_answer(apart),
        ratio_to_sparse_product=round(product / fast, 2),
        peer_ms_sparse_product=round(product, 1), iterations=pipeline.config.purify.iterations,
        **apart,
    )  # fmt: skip


def purified_labels(pipeline: Pipeline, asked: TextQuery) -> VoxelLabels:
    """A full pass and a query."""
    pipeline.purify(is_full=True)
    return pipeline.query(asked, with_raw=False).pooled
