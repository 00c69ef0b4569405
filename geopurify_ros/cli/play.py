"""`geopurify play`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geopurify_ros.cli.options import (
    add_depth_unit,
    add_topics,
    check_rate,
    sample_room,
    say,
    topics_of,
)

ABOUT = "publish a sequence or a rosbag2 as ROS topics"


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Recording, pace, topics."""
    one.add_argument("sequence", type=Path, nargs="?",
                     help="sequence folder or rosbag2 (default: the sample)")
    one.add_argument("--rate", type=float, default=5.0, help="frames per second of a sequence")
    one.add_argument("--speed", type=float, default=1.0, help="times the recorded pace of a bag")
    one.add_argument("--clock", action="store_true", help="publish /clock, for use_sim_time")
    add_topics(one)
    add_depth_unit(one)
    one.add_argument("--loop", action="store_true", help="start again at the end")
    one.add_argument("--namespace", default="geopurify", help="namespace of the topics")
    one.add_argument("--map-frame", default="map", help="frame of the poses")
    one.add_argument("--wait", type=float, default=30.0, metavar="SECONDS",
                     help="wait so long for a subscriber, 0: do not wait")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Publish to the end, or for ever."""
    check_rate("--speed", args.speed)
    check_rate("--rate", args.rate)
    from geopurify_ros.data.readers.bag_files import is_bag
    from geopurify_ros.ros.tools.sequence_player import play_sequence

    folder = args.sequence or sample_room()
    if is_bag(folder) or folder.is_file():
        from geopurify_ros.ros.tools.bag_player import play_bag

        result = play_bag(folder, topics_of(args), args.speed, args.loop, args.namespace,
                          args.wait, args.clock)
        say(args, f"published {result['messages']} messages of {folder}")
        return result
    result = play_sequence(
        folder, args.rate, args.loop, args.namespace, args.map_frame, args.wait, args.clock,
        args.depth_unit or 0.0,
    )
    say(args, f"published {result['frames']} frames of {folder}")
    return result
