"""One process at a time in a folder of training data: two would write over each other's files."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geopurify_ros.errors import InputError


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep `folder`, which exists, for this block; a process that ends, however, lets go of it.

    Raises:
        InputError: another process has it.
    """
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another command is at work in {folder}: wait for its end, or choose another "
                "folder"
            ) from error
        except OSError:
            pass  # a file system without locks: as before there were any
        yield
