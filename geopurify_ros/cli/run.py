"""`geopurify run`."""

from __future__ import annotations

import argparse
import json

from geopurify_ros.cameras import remappings
from geopurify_ros.cli.options import (
    add_config,
    add_depth_unit,
    add_topics,
    config_of,
    topics_of,
)
from geopurify_ros.config_file import uses_sim_time
from geopurify_ros.signals import leave_on_signal

ABOUT = "start the node, without ros2 launch"


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Namespace, topics, parameters."""
    one.add_argument("--namespace", default="geopurify", help="namespace of the node's topics")
    one.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], metavar="...",
                     help="passed on to ROS, as in ros2 run")
    add_topics(one)
    add_config(one)
    add_depth_unit(one)


def run(args: argparse.Namespace) -> int:
    """Run the node until it is told to end."""
    leave_on_signal()
    from geopurify_ros.ros.main import run_node

    remap = ["-r", f"__ns:=/{args.namespace.strip('/')}", "-r", "__node:=mapping"]
    for own, topic in remappings(topics_of(args)):
        remap += ["-r", f"{own}:={topic}"]
    if args.config and uses_sim_time(args.config):
        remap += ["-p", "use_sim_time:=true"]
    tell = (lambda counts: print(json.dumps(counts))) if args.json else None
    return run_node(["geopurify", "--ros-args", *remap, *args.ros_args], config_of(args), tell)
