"""`geopurify bench`."""

from __future__ import annotations

import argparse
from typing import Any

from geopurify_ros.cli.options import sample_room, say

ABOUT = "measure the hot paths against plain code"


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Which cases, where, how long."""
    one.add_argument("--only", nargs="+", default=[], metavar="NAME", help="some of the cases")
    one.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of the maps")
    one.add_argument("--node", action="store_true",
                     help="instead: how the node keeps up with a camera at 5 Hz and 20 prompts on "
                     "a map of 225,000 voxels; about three minutes, needs ROS 2")
    one.add_argument("--frames", type=int, default=100, help="of --node")
    one.add_argument("--quick", action="store_true", help="small maps and few repetitions")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; packing clouds needs ROS."""
    if args.node:
        return _node(args)
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


def _node(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.ros.tools.node_trial import node_trial

    found = {}
    for name, enlarged in (("320x240", 1), ("640x480", 2)):
        one = found[name] = node_trial(
            sample_room(), copies=1 if args.quick else 4, num_frames=args.frames,
            enlarged=enlarged,
        )  # fmt: skip
        say(args, f"{name}: {one['frames'].get('fused', 0)} of {one['played']} frames fused, "
            f"stamp to labelled cloud {one['latency_s']} s, resident {one['resident_mb']} MB")
    return found
