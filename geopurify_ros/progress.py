"""Progress on stderr: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

_EVERY_S = 10.0
_T = TypeVar("_T")


def progress(items: Iterable[_T], total: int | None, what: str, unit: str) -> Iterator[_T]:
    """`items`, one by one; `total` of them where that is known.

    Under launch and in files a bar is one endless line of control characters. What is soon done
    is not told there.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=what, unit=unit)
        return
    start_s = said_s = time.monotonic()
    number = 0
    for item in items:
        yield item
        number += 1
        if time.monotonic() - said_s >= _EVERY_S:
            said_s = time.monotonic()
            _say(what, number, total, unit, said_s - start_s)
    if time.monotonic() - start_s >= _EVERY_S:
        _say(what, number, total, unit, time.monotonic() - start_s)


def _say(what: str, number: int, total: int | None, unit: str, seconds: float) -> None:
    of = "" if total is None else f" of {total}"
    print(f"{what}: {number}{of} {unit}s in {seconds:.0f} s", file=sys.stderr, flush=True)
