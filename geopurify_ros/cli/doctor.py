"""`geopurify doctor`."""

from __future__ import annotations

import argparse
import json

from geopurify_ros.cli.options import say

ABOUT = "say what is wrong with a running node"


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Which node."""
    one.add_argument("--namespace", default="geopurify", help="namespace of the node")


def run(args: argparse.Namespace) -> int:
    """0 where all is well, else 1."""
    from geopurify_ros.ros.tools.doctor import examine

    result = examine(args.namespace, lambda text: say(args, text))
    if args.json:
        print(json.dumps(result))
    return 0 if result["ok"] else 1
