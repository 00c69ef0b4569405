"""Case `purify_incremental`: what keyframes of one room changed, in maps of more and more rooms.

Purified parts of a map beside a full pass of it: after one keyframe, after several, and after
five seconds of a moving camera.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.purified import Purified
from geopurify_ros.evaluate.bench import flat
from geopurify_ros.evaluate.bench.oracle import Oracle, oracle_pipeline
from geopurify_ros.evaluate.bench.same_answer import answer_difference, is_same_answer, worst
from geopurify_ros.evaluate.bench.timing import (
    Setup,
    StageClock,
    case,
    growth_exponent,
    seconds,
)

SIZES, _QUICK_SIZES = (61_440, 243_000, 730_000), (61_440,)
_IN_A_PERIOD = 25  # keyframes of a moving camera in five seconds


@dataclass
class _Measured:
    """What was measured in one map, milliseconds of each run."""

    one_ms: list[float] = field(default_factory=list)
    period_ms: list[float] = field(default_factory=list)
    full_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)  # of one keyframe
    region_rows: list[int] = field(default_factory=list)
    region_rows_25: list[int] = field(default_factory=list)
    updated_rows: list[int] = field(default_factory=list)
    differences: list[dict[str, float]] = field(default_factory=list)


def bench_incremental(setup: Setup) -> dict[str, Any]:
    """Seconds by size of the map, the share of a full pass, and whether the answers are those."""
    maps = {size: _measured(size, setup) for size in setup.either(SIZES, _QUICK_SIZES)}
    largest = maps[max(maps)]
    one = {size: of.one_ms for size, of in maps.items()}
    period = {size: of.period_ms for size, of in maps.items()}
    full = {size: of.full_ms for size, of in maps.items()}
    differences = [one for of in maps.values() for one in of.differences]
    return case(
        largest.one_ms, largest.full_ms, f"a full pass, {max(maps):,} voxels",
        all(is_same_answer(one) for one in differences),
        seconds=seconds(one), seconds_25=seconds(period), seconds_full=seconds(full),
        growth_exponent=growth_exponent(one), growth_exponent_25=growth_exponent(period),
        share_of_full={n: _share(of.one_ms, of.full_ms) for n, of in maps.items()},
        share_of_full_25={n: _share(of.period_ms, of.full_ms) for n, of in maps.items()},
        region_rows={n: round(statistics.median(of.region_rows)) for n, of in maps.items()},
        region_rows_25={n: round(statistics.median(of.region_rows_25)) for n, of in maps.items()},
        updated_rows={n: round(statistics.median(of.updated_rows)) for n, of in maps.items()},
        stages_s={n: _medians_s(of.stages_ms) for n, of in maps.items()},
        differences={n: of.differences for n, of in maps.items()},
        **worst(differences),
    )  # fmt: skip


def _measured(num_voxels: int, setup: Setup) -> _Measured:
    """The same map for all: each keyframe is another view, and each period goes on."""
    pipeline, oracle, watch = oracle_pipeline(setup.clock)
    flat.fill(pipeline, oracle, num_voxels)
    found, views = _Measured(), iter(range(10_000))
    found.full_ms.append(setup.clock.timed(lambda: pipeline.purify(is_full=True))[1])
    for number in range(setup.either(5, 1)):
        _add_keyframes(pipeline, oracle, views, 1, found.region_rows)
        watch.taken_ms()
        report, passed = setup.clock.timed(pipeline.purify)
        found.one_ms.append(passed)
        found.updated_rows.append(report.num_updated)
        _note_stages(found, watch, passed)
        if number == 0:
            _compare(pipeline, oracle, found, setup)
    for _ in range(setup.either(3, 1)):
        _add_keyframes(pipeline, oracle, views, _IN_A_PERIOD, found.region_rows_25)
        found.period_ms.append(setup.clock.timed(pipeline.purify)[1])
    _compare(pipeline, oracle, found, setup)
    return found


def _add_keyframes(
    pipeline: Pipeline, oracle: Oracle, views: Iterator[int], count: int, rows: list[int]
) -> None:
    """Fuse the next views, and note how many voxels are to be pooled anew."""
    for _ in range(count):
        flat.fuse(pipeline, oracle, flat.keyframe(oracle, next(views)))
    job = pipeline.purify_job()
    assert job.before is not None
    region = job.region()
    assert region is not None
    rows.append(len(region.rows(region.rim)))


def _note_stages(found: _Measured, watch: StageClock, passed_ms: float) -> None:
    stages = watch.taken_ms()
    for name, taken in (stages | {"rest": passed_ms - sum(stages.values())}).items():
        found.stages_ms.setdefault(name, []).append(taken)


def _compare(pipeline: Pipeline, oracle: Oracle, found: _Measured, setup: Setup) -> None:
    """With a full pass of the map as it is now, which is not kept."""
    full, passed = setup.clock.timed(pipeline.purify_job(is_full=True).run)
    assert isinstance(full, Purified)
    found.full_ms.append(passed)
    found.differences.append(answer_difference(pipeline, full, oracle.vocabulary))


def _share(some_ms: list[float], full_ms: list[float]) -> float:
    return round(statistics.median(some_ms) / statistics.median(full_ms), 4)


def _medians_s(stages_ms: dict[str, list[float]]) -> dict[str, float]:
    return {name: round(statistics.median(runs) / 1e3, 4) for name, runs in stages_ms.items()}
