"""How long each stage takes: medians over the last runs, for diagnostics and summaries."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_KEPT = 200


class Stopwatch:
    """Wall time per named stage; safe between threads."""

    def __init__(self, device: torch.device) -> None:
        """Nothing measured yet; CUDA work is waited for before the clock is read."""
        self._device = device
        self._seconds: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Time the body as one run of `stage`; a run that raises does not count."""
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        seconds = time.perf_counter() - start
        with self._lock:
            self._seconds.setdefault(stage, deque(maxlen=_KEPT)).append(seconds)

    def median_ms(self) -> dict[str, float]:
        """Median milliseconds per stage."""
        with self._lock:
            return {name: 1e3 * statistics.median(runs) for name, runs in self._seconds.items()}
