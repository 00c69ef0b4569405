"""The camera infos of late, so that an image that waits for its pose keeps its own calibration."""

from __future__ import annotations

from collections import deque

from sensor_msgs.msg import CameraInfo

from geopurify_ros.data.messages.arrays import stamp_ns

_KEPT = 1000  # half a minute at 30 Hz


class InfoTrack:
    """In the order in which they came."""

    def __init__(self) -> None:
        """None yet."""
        self._infos: deque[CameraInfo] = deque(maxlen=_KEPT)

    def __len__(self) -> int:
        """How many are known."""
        return len(self._infos)

    def take(self, msg: CameraInfo) -> None:
        """One more."""
        self._infos.append(msg)

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the one that came last."""
        return stamp_ns(self._infos[-1].header.stamp) if self._infos else None

    def at(self, time_ns: int) -> CameraInfo:
        """The last one that is not younger than an image; the oldest where all are younger."""
        for msg in reversed(self._infos):
            if stamp_ns(msg.header.stamp) <= time_ns:
                return msg
        return self._infos[0]

    def forget(self) -> None:
        """Only the last one still counts, as after a jump back in time."""
        if self._infos:
            self._infos = deque([self._infos[-1]], maxlen=_KEPT)
