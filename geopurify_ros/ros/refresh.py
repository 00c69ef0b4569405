"""How often clouds of a growing map go out: as parameter output.max_rate_hz says, or less."""

from __future__ import annotations

from time import monotonic

# Times what a refreshed answer takes, until the next: frames go first, the more of them wait.
_LEAVE, _FEW_FRAMES = (3.0, 9.0), 3


class Refresh:
    """When the labels of the active query, and the map, were published last."""

    def __init__(self) -> None:
        """Never."""
        self.is_owed = False  # whether voxels changed since the last answer
        self._answered_at = self._mapped_at = -float("inf")
        self._took_s = 0.0

    def until_answer_s(self, rate_hz: float, num_waiting: int) -> float:
        """Seconds until the next answer is due; `num_waiting` frames are to be fused."""
        leave_s = _LEAVE[num_waiting > _FEW_FRAMES] * self._took_s
        return max(0.0, self._answered_at + max(_period_s(rate_hz), leave_s) - monotonic())

    def begin_answer(self) -> None:
        """Of the map as it is now."""
        self.is_owed, self._answered_at = False, monotonic()

    def end_answer(self, is_refresh: bool) -> None:
        """Other answers look at more than what a few frames changed."""
        if is_refresh:
            self._took_s = monotonic() - self._answered_at

    def is_map_due(self, rate_hz: float) -> bool:
        """Whether the map may go out."""
        return monotonic() >= self._mapped_at + _period_s(rate_hz)

    def end_map(self) -> None:
        """It went out."""
        self._mapped_at = monotonic()


def _period_s(rate_hz: float) -> float:
    return 1.0 / rate_hz if rate_hz > 0 else 0.0
