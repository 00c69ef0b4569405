"""How the time of a case is measured, and two ways to do one thing timed in turn."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch

from geopurify_ros.core.stopwatch import Stopwatch

Job = Callable[[], Any]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Clock:
    """Processor time of all threads of the process; on CUDA wall time, once the card is done."""

    device: torch.device

    @property
    def name(self) -> str:
        """What is measured, for the report."""
        return "wall time, synchronised" if self._is_cuda else "processor time of the process"

    def now_ms(self) -> float:
        """From some moment on."""
        if self._is_cuda:
            torch.cuda.synchronize(self.device)
            return 1e3 * time.perf_counter()
        return 1e3 * time.process_time()

    def timed(self, job: Callable[[], _T]) -> tuple[_T, float]:
        """What a job returns, and its milliseconds."""
        start = self.now_ms()
        made = job()
        return made, self.now_ms() - start

    @property
    def _is_cuda(self) -> bool:
        return self.device.type == "cuda"


class StageClock(Stopwatch):
    """A pipeline's stopwatch that reads a `Clock`."""

    def __init__(self, clock: Clock) -> None:
        """Nothing measured yet."""
        super().__init__(clock.device)
        self._clock = clock
        self._taken_ms: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of the body to that of `stage`."""
        start = self._clock.now_ms()
        yield
        passed = self._clock.now_ms() - start
        self._taken_ms[stage] = self._taken_ms.get(stage, 0.0) + passed

    def taken_ms(self) -> dict[str, float]:
        """Milliseconds of each stage since the last call."""
        taken, self._taken_ms = self._taken_ms, {}
        return taken


@dataclass(frozen=True)
class Setup:
    """How much is measured, and where.

    Attributes:
        device: of the maps.
        is_quick: small maps and few repetitions, seconds in all.
    """

    device: torch.device
    is_quick: bool = False

    @cached_property
    def clock(self) -> Clock:
        """What is read."""
        return Clock(self.device)

    @property
    def repeats(self) -> int:
        """Runs of what takes milliseconds."""
        return 3 if self.is_quick else 9

    def either(self, long: _T, quick: _T) -> _T:
        """One of two sizes of something."""
        return quick if self.is_quick else long


def in_turn(
    jobs: Mapping[str, Job], repeats: int, clock: Clock, has_warm_up: bool = True
) -> dict[str, list[float]]:
    """Milliseconds of each run of some jobs that alternate, after one warm-up each."""
    runs: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(repeats + has_warm_up):
        for name, job in jobs.items():
            _, passed = clock.timed(job)
            if number >= has_warm_up:
                runs[name].append(passed)
    return runs


def case(
    fast_ms: list[float], plain_ms: list[float], peer: str | None, equal: bool | None,
    **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """What `--json` prints; `equal` None where there is no other way to do it."""
    median = statistics.median(fast_ms)
    plain = statistics.median(plain_ms) if plain_ms else None
    quartiles = np.quantile(fast_ms, (0.25, 0.75)).tolist()
    return {
        "median_ms": round(median, 3),
        "spread_ms": round(max(fast_ms) - min(fast_ms), 3),
        "quartiles_ms": [round(one, 3) for one in quartiles],
        "ratio": None if plain is None else round(plain / median, 2),
        "peer": peer,
        "peer_ms": None if plain is None else round(plain, 3),
        "equal": equal,
        "roofline_share": None,
        "growth_exponent": None,
        **more,
    }


def growth_exponent(runs_ms: Mapping[int, list[float]]) -> float | None:
    """p in time ~ size^p: the slope of the medians in logarithms; None of a single size."""
    if len(runs_ms) < 2:
        return None
    sizes = np.log(list(runs_ms))
    medians = [math.log(statistics.median(runs)) for runs in runs_ms.values()]
    return round(float(np.polyfit(sizes, medians, 1)[0]), 3)


def seconds(runs_ms: Mapping[int, list[float]]) -> dict[int, float]:
    """Medians by size."""
    return {size: round(statistics.median(runs) / 1e3, 4) for size, runs in runs_ms.items()}
