"""How a long computation lets others go first, and how it ends early."""

from __future__ import annotations

from collections.abc import Callable

# Called between steps of some milliseconds: it may wait, or raise UnwantedError.
Pause = Callable[[], object]


class UnwantedError(Exception):
    """Nobody waits for the result any more."""


def no_pause() -> None:
    """Go on at once."""


def ends_when(is_unwanted: Callable[[], bool]) -> Pause:
    """A pause that ends the computation once its result is not wanted any more."""

    def pause() -> None:
        if is_unwanted():
            raise UnwantedError

    return pause
