"""Keeps the images of a second camera on the same topic out of the map."""

from __future__ import annotations

import time

_SILENT_S = 2.0  # after so long without its images another camera may take over


class OneCamera:
    """Tells by frame_id whether an image is of the camera that is mapped."""

    def __init__(self) -> None:
        """None yet."""
        self.frame_id: str | None = None
        self._seen_s = 0.0

    def accepts(self, frame_id: str, is_alone: bool, partner: str | None = None) -> bool:
        """Whether an image with this frame_id belongs to the camera.

        `is_alone`: only one publisher is there, whatever it sends is of the camera. `partner` is
        the frame_id of the images that it is to be paired with, where both should have the same
        one: it decides between two that come.
        """
        now_s = time.monotonic()
        is_held = not is_alone and self.frame_id is not None and now_s - self._seen_s < _SILENT_S
        if is_held and frame_id not in (self.frame_id, partner):
            return False
        self.frame_id, self._seen_s = frame_id, now_s
        return True
