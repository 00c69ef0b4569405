"""`geopurify demo`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geopurify_ros.cli.options import check_rate, sample_room, say

ABOUT = "node and player as two processes on the sample room"


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Sequence, pace, folder."""
    one.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the results")
    one.add_argument("--sequence", type=Path, help="another labelled sequence")
    one.add_argument("--rate", type=float, default=3.0, help="frames per second")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Play, map, ask and judge."""
    check_rate("--rate", args.rate)
    from geopurify_ros.ros.tools.demo import run_demo

    summary: dict[str, Any] = run_demo(
        args.sequence or sample_room(), args.out, args.rate, lambda text: say(args, text)
    )
    return summary
