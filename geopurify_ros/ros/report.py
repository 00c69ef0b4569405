"""What happened to the frames, and warnings that name a fault once, not thirty times a second."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter

_REPEAT_S = 10.0


def without_numbers(sentence: object) -> str:
    """A sentence as the kind of a fault, the same whatever was measured."""
    return re.sub(r"-?\d[\d.]*(e[-+]?\d+)?", "#", str(sentence))


class FrameCounts:
    """Every colour image received is fused or dropped for one reason; safe between threads."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._lock = threading.Lock()
        self._received = 0
        self._fused = 0
        self._dropped: Counter[str] = Counter()

    def received(self) -> None:
        """Count a colour image."""
        with self._lock:
            self._received += 1

    def fused(self) -> None:
        """Count a frame that entered the map."""
        with self._lock:
            self._fused += 1

    def dropped(self, reason: str) -> None:
        """Count a frame that did not."""
        with self._lock:
            self._dropped[reason] += 1

    def snapshot(self) -> dict[str, int]:
        """{"received", "fused", "dropped.<reason>"...}; what is missing is still on its way."""
        with self._lock:
            drops = {f"dropped.{reason}": n for reason, n in sorted(self._dropped.items())}
            return {"received": self._received, "fused": self._fused, **drops}


class Reporter:
    """Warns about a (topic, fault) at once, then at most every ten seconds with a count."""

    def __init__(self, logger) -> None:
        """Warn through `logger`, a node's."""
        self._logger = logger
        self._lock = threading.Lock()
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def tell(self, topic: str, sentence: str) -> None:
        """Say what is no fault."""
        self._logger.info(f"{topic}: {sentence}")

    def warn(self, topic: str, sentence: str, kind: str | None = None) -> None:
        """Say `sentence` of `topic`; `kind` names the fault, else it is without its numbers."""
        key, now = (topic, kind or without_numbers(sentence)), time.monotonic()
        with self._lock:
            said, unsaid = self._last.get(key, (-_REPEAT_S, 0))
            if now - said < _REPEAT_S:
                self._last[key] = (said, unsaid + 1)
                return
            if len(self._last) > 1000:  # a flood of distinct sentences must not grow for ever
                self._last.clear()
            self._last[key] = (now, 0)
        again = f" ({unsaid} more since the last report)" if unsaid else ""
        self._logger.warning(f"{topic}: {sentence}{again}")
