"""Pairs colour with depth by stamp."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any


class PairSync:
    """Calls back with the first pair of messages whose stamps differ by at most `slop_ns`.

    Of several partners in reach the nearest is taken. Once a pair is out, older messages of both
    topics are given up; so are the oldest when a queue is full. `dropped` hears of each first
    message (colour) that found no partner.
    """

    def __init__(
        self,
        slop_ns: int,
        queue_size: int,
        paired: Callable[[Any, Any], None],
        dropped: Callable[[Any], None],
    ) -> None:
        """Two empty queues."""
        self._slop_ns = slop_ns
        self._queue_size = queue_size
        self._paired = paired
        self._dropped = dropped
        # (stamp_ns, message)
        self._queues: tuple[deque[tuple[int, Any]], deque[tuple[int, Any]]] = (deque(), deque())

    def add(self, topic: int, stamp_ns: int, message: Any) -> None:
        """Take a message of topic 0 (colour) or 1 (depth)."""
        other = self._queues[1 - topic]
        near = [(abs(t - stamp_ns), t, m) for t, m in other if abs(t - stamp_ns) <= self._slop_ns]
        if not near:
            self._queues[topic].append((stamp_ns, message))
            if len(self._queues[topic]) > self._queue_size:
                self._give_up(topic)
            return
        _, partner_ns, partner = min(near, key=lambda candidate: candidate[:2])
        self._forget_until(topic, stamp_ns)
        self._forget_until(1 - topic, partner_ns, partner)
        self._paired(*((message, partner) if topic == 0 else (partner, message)))

    def clear(self) -> int:
        """Empty both queues; returns how many first messages (colour) were waiting."""
        waiting = len(self._queues[0])
        for queue in self._queues:
            queue.clear()
        return waiting

    def _forget_until(self, topic: int, stamp_ns: int, keep: Any = None) -> None:
        queue = self._queues[topic]
        kept = [(t, m) for t, m in queue if t > stamp_ns]
        for t, message in queue:
            if t <= stamp_ns and message is not keep and topic == 0:
                self._dropped(message)
        queue.clear()
        queue.extend(kept)

    def _give_up(self, topic: int) -> None:
        _, message = self._queues[topic].popleft()
        if topic == 0:
            self._dropped(message)
