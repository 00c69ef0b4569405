"""The names that an encoder knows are encoded in the background: mapping waits for none of it.

With builtin that takes less than a second. The text tower of ViT-B takes a quarter of a minute on
two quiet cores, the first time (texts are cached), and far more beside a camera: what is asked
meanwhile is answered as for an encoder without a vocabulary, and the active query once more when
the names are there.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import torch
from torch import Tensor

from geopurify_ros.core.mapping.encoder import ImageTextEncoder
from geopurify_ros.core.purification.encoder_side import EncoderSide
from geopurify_ros.ros.background import step_back
from geopurify_ros.ros.report import Reporter

_PATIENCE_S = 2.0  # after the start; until then questions wait


class LateVocabulary(EncoderSide):
    """The encoder of a pipeline, whose vocabulary is not there at once."""

    def __init__(
        self, encoder: ImageTextEncoder, device: torch.device, reporter: Reporter
    ) -> None:
        """Not begun yet: who comes first encodes the names."""
        super().__init__(encoder, device)
        self._reporter = reporter
        self._num_threads = torch.get_num_threads()
        self._is_over, self._is_unwanted = threading.Event(), False
        self._patience_ends_s = math.inf
        self._is_over.set()

    @property
    def vocabulary(self) -> Tensor | None:  # (A, D)
        """As of any encoder; None while it is being encoded and that takes long."""
        self._is_over.wait(max(0.0, self._patience_ends_s - time.monotonic()))
        return super().vocabulary if self._is_over.is_set() else None

    def begin(self, when_read: Callable[[], None]) -> None:
        """Encode it on a thread of its own, which calls `when_read` at the end; none: nothing."""
        if self.names:
            self._is_over.clear()
            self._patience_ends_s = time.monotonic() + _PATIENCE_S
            threading.Thread(
                target=self._read, args=(when_read,), name="vocabulary", daemon=True
            ).start()

    def destroy(self) -> None:
        """Say nothing any more: the node goes."""
        self._is_unwanted = True

    def _read(self, when_read: Callable[[], None]) -> None:
        start_s = time.monotonic()
        self._tell(f"encoding the {len(self.names)} names of the vocabulary")
        step_back(self._num_threads)
        try:
            _ = super().vocabulary
        except Exception as error:  # who asks next tries again, and is told
            self._reporter.warn("encoder", f"the vocabulary cannot be encoded: {error!r}")
            return
        finally:
            self._is_over.set()
        self._tell(f"the vocabulary is encoded, after {time.monotonic() - start_s:.1f} s")
        if not self._is_unwanted:
            when_read()

    def _tell(self, sentence: str) -> None:
        if not self._is_unwanted:
            self._reporter.tell("encoder", sentence)
