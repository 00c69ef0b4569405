"""Commands of ours as processes of their own, for programs that look at them from outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO

from geopurify_ros.errors import GeoPurifyError


def start(arguments: list[str], log: IO[str] | None = None) -> subprocess.Popen:
    """A geopurify command as a process of its own, its output in `log`."""
    command = [sys.executable, "-m", "geopurify_ros.cli", *arguments]
    return subprocess.Popen(command, stdout=log or sys.stderr, stderr=log)


def is_alive(process: subprocess.Popen, out: Path) -> bool:
    """Whether the node runs; GeoPurifyError with the last line of its log where it ended."""
    if process.poll() is not None:
        tail = (out / "node.log").read_text().strip().splitlines()[-1:]
        raise GeoPurifyError(f"the node ended with code {process.returncode}: {' '.join(tail)}")
    return True


def stop(process: subprocess.Popen | None) -> None:
    """End a process as Ctrl-C does."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(2)  # SIGINT, what Ctrl-C sends
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
