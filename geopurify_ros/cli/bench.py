"""`geopurify bench`."""

from __future__ import annotations

import argparse
from typing import Any

from geopurify_ros.cli.options import say

ABOUT = "measure the hot paths against plain code"


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Which cases, where, how long."""
    one.add_argument("--only", nargs="+", default=[], metavar="NAME", help="some of the cases")
    one.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of the maps")
    one.add_argument("--quick", action="store_true", help="small maps and few repetitions")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; packing clouds needs ROS."""
    from geopurify_ros.evaluate.bench.runner import PACKING, run_bench

    try:
        from geopurify_ros.ros.tools.bench_clouds import pack, plain_pack

        packers = (pack, plain_pack)
    except ImportError as error:
        packers = None
        if not args.only or PACKING in args.only:
            say(args, f"packing clouds is left out, it needs ROS 2 ({error.name} is missing)")
    return run_bench(
        args.device, args.quick, args.only, packers, lambda text: say(args, text)
    )
