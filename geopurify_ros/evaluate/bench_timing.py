"""Two ways to do one thing, timed in turn."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Timing:
    """Milliseconds of the runs of two ways to do one thing."""

    fast_ms: list[float]
    plain_ms: list[float]

    def case(self, peer: str, equal: bool, **more: float | None) -> dict[str, Any]:
        """What `--json` prints."""
        median = statistics.median(self.fast_ms)
        plain = statistics.median(self.plain_ms) if self.plain_ms else math.nan
        return {
            "median_ms": round(median, 3),
            "spread_ms": round(max(self.fast_ms) - min(self.fast_ms), 3),
            "ratio": round(plain / median, 2) if self.plain_ms else None,
            "peer": peer,
            "peer_ms": round(plain, 3) if self.plain_ms else None,
            "equal": equal,
            "roofline_share": None,
            "growth_exponent": None,
            **more,
        }


def alternate(
    fast: Callable[[], Any], plain: Callable[[], Any] | None, repeats: int
) -> Timing:
    """Run both in turn, after one warm-up each."""
    timing = Timing([], [])
    for number in range(repeats + 1):
        for job, runs in ((fast, timing.fast_ms), (plain, timing.plain_ms)):
            if job is not None:
                start = time.perf_counter()
                job()
                if number:
                    runs.append(1e3 * (time.perf_counter() - start))
    return timing


def growth_exponent(runs_ms: dict[int, list[float]]) -> float:
    """p in time ~ size^p, from the smallest and the largest size."""
    (small, small_ms), *_, (large, large_ms) = sorted(runs_ms.items())
    ratio = statistics.median(large_ms) / statistics.median(small_ms)
    return round(math.log(ratio) / math.log(large / small), 3)
