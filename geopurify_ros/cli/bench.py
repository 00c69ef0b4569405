"""`geopurify bench`."""

from __future__ import annotations

import argparse
from typing import Any

from geopurify_ros.cli.options import say

ABOUT = "measure the hot paths against plain code"


def add_arguments(one: argparse.ArgumentParser) -> None:
    """How long."""
    one.add_argument("--quick", action="store_true", help="fewer repetitions")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; packing clouds needs ROS."""
    from geopurify_ros.evaluate.bench import format_bench, run_bench

    try:
        from geopurify_ros.ros.tools.bench_clouds import pack, plain_pack

        packers = (pack, plain_pack)
    except ImportError as error:
        say(args, f"packing clouds is left out, it needs ROS 2 ({error.name} is missing)")
        packers = None
    result = run_bench(args.quick, packers)
    say(args, format_bench(result))
    return result
