"""Options that several commands share, and what they say."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from geopurify_ros.cameras import CAMERAS, Topics, camera, with_topics
from geopurify_ros.config import Config, with_values
from geopurify_ros.config_file import load_yaml, with_assignments
from geopurify_ros.errors import InputError

_VOXEL_SIZE = "map.voxel_size_m"


def add_config(one: argparse.ArgumentParser) -> None:
    """--config and --set, and short forms of the commonest parameters."""
    one.add_argument("--config", type=Path, help="parameter file, as config/mapping.yaml")
    one.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                     help="any parameter, as in --set depth.max_m=4.0")
    one.add_argument("--encoder", help="short for --set encoder.name=...")
    one.add_argument("--voxel-size", type=float, help="short for --set map.voxel_size_m=...")
    one.add_argument("--embedding", help="short for --set purify.embedding=...")


def add_every(one: argparse.ArgumentParser) -> None:
    """--every, of commands that read a sequence."""
    one.add_argument("--every", type=int, default=1, help="use every n-th frame of a sequence")


def add_depth_unit(one: argparse.ArgumentParser) -> None:
    """--depth-unit, of commands that read depth images."""
    one.add_argument("--depth-unit", type=_metres, metavar="METRES",
                     help="metres per unit of the depth images, 0.0002 or 1/5000; short for "
                     "--set camera.depth_unit_m=...")


def _metres(text: str) -> float:
    """A number, or a quotient of two."""
    above, _, below = text.partition("/")
    try:
        metres = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        metres = -1.0
    if not 0 < metres <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of a unit, as 0.0002 or 1/5000")
    return metres


def add_topics(one: argparse.ArgumentParser) -> None:
    """--camera and --topic."""
    one.add_argument("--camera", default="generic", metavar="PRESET",
                     help=f"topics and parameters of a camera: {', '.join(CAMERAS)}")
    one.add_argument("--topic", action="append", default=[], metavar="INPUT=TOPIC",
                     help="rgb, depth, camera_info, depth_camera_info, pose or odom, as in "
                     "--topic depth=/camera/depth/image_raw")


def topics_of(args: argparse.Namespace) -> Topics:
    """The topics that a command line names."""
    return with_topics(camera(args.camera).topics, args.topic)


def config_of(args: argparse.Namespace) -> Config:
    """The configuration that a command line names: file, camera, --set, short forms."""
    config = load_yaml(args.config) if args.config else Config()
    if "camera" in args:
        config = with_values(config, camera(args.camera).parameters)
    config = with_assignments(config, args.set)
    short = {
        "encoder.name": args.encoder,
        _VOXEL_SIZE: args.voxel_size,
        "purify.embedding": args.embedding,
        "camera.depth_unit_m": getattr(args, "depth_unit", None),
    }
    if getattr(args, "every", 1) < 1:
        raise InputError(f"--every is {args.every}, expected 1 or more")
    return with_values(config, {name: v for name, v in short.items() if v is not None})


def names_voxel_size(args: argparse.Namespace) -> bool:
    """Whether somebody asked for a voxel size, be it the default one."""
    assigned = (text.partition("=")[0].strip() for text in args.set)
    return args.voxel_size is not None or _VOXEL_SIZE in assigned


def say(args: argparse.Namespace, text: str) -> None:
    """Print a result; under --json stdout belongs to it."""
    print(text, file=sys.stderr if getattr(args, "json", False) else sys.stdout)


def check_rate(option: str, value: float) -> None:
    """Refuse what is no pace, NaN included."""
    if not 0 < value <= 1000:
        unit = " per second" if option == "--rate" else ""
        raise InputError(f"{option} is {value}, expected more than 0, at most 1000{unit}")


def sample_room() -> Path:
    """The sequence that comes with the package."""
    return Path(__file__).parents[1] / "assets" / "sample_room"
