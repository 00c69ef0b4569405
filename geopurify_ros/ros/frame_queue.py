"""Keyframes that wait to be fused; the worker's lock guards it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.config import KeyframeConfig
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.mapping.keyframe import KeyframeGate
from geopurify_ros.ros.report import FrameCounts

MAX_FRAMES = 20  # poses that come late bring the images of a second at once
Place = tuple[NDArray[np.float64], int]  # T_world_camera (4, 4) and stamp_ns
Build = Callable[[], RgbdFrame]


class FrameQueue:
    """Oldest first; when it is full, the oldest gives way."""

    def __init__(self, config: KeyframeConfig, counts: FrameCounts) -> None:
        """Empty."""
        self._gate = KeyframeGate(config)  # what waits counts as a keyframe, too
        self._counts = counts
        self._frames: deque[Build] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._frames)

    def configure(self, config: KeyframeConfig) -> None:
        """Take new values of live parameters."""
        self._gate.config = config

    def wants(self, T_world_camera: NDArray[np.float64], stamp_ns: int) -> bool:
        """Whether a frame at this pose (4, 4) and time is a keyframe after those that wait."""
        return self._gate.is_keyframe(T_world_camera, stamp_ns)

    def put(self, build: Build, place: Place | None) -> None:
        """One more; `place` where it is known before the frame is made."""
        if place is not None:
            self._gate.accept(*place)
        while len(self._frames) >= MAX_FRAMES:
            self._counts.dropped("busy")
            self._frames.popleft()
        self._frames.append(build)

    def take(self) -> Build | None:
        """The oldest; None where nothing waits."""
        return self._frames.popleft() if self._frames else None

    def drop(self, reason: str) -> None:
        """Give all up."""
        for _ in self._frames:
            self._counts.dropped(reason)
        self._frames.clear()
        self.forget()

    def forget(self) -> None:
        """The next frame is a keyframe: what was expected of the last ones did not come."""
        self._gate.reset()
