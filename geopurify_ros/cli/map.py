"""`geopurify map`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from geopurify_ros.cli.options import (
    add_config,
    add_depth_unit,
    add_every,
    add_topics,
    config_of,
    say,
    topics_of,
)

ABOUT = "map a sequence folder or a rosbag2 into a file"


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Recording, topics, target."""
    one.add_argument("sequence", type=Path,
                     help="folder with color/ depth/ pose/ intrinsic/, or rosbag2 (sqlite3, mcap)")
    add_topics(one)
    one.add_argument("--out", type=Path, required=True, help="map file to write (.safetensors)")
    add_config(one)
    add_depth_unit(one)
    add_every(one)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Map, save, and say what looks wrong."""
    from geopurify_ros.evaluate.verdict import format_verdict
    from geopurify_ros.offline.mapping import map_to_file

    result = map_to_file(args.sequence, args.out, config_of(args), args.every, topics_of(args))
    say(args, "{num_voxels} voxels of {num_frames} frames in {map}".format(**result))
    for line in format_verdict(result["verdict"]):
        print(line, file=sys.stderr)
    return result
