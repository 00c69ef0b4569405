"""`geopurify train ...`: arguments and dispatch. Heavy imports happen inside the commands."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define what can be trained or made for training."""
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    about = "furnished rooms with labels, from the models of sweethome3d-furniture"
    one = what.add_parser("rooms", help=about, description=about)
    one.add_argument("--json", action="store_true", default=argparse.SUPPRESS,
                     help="one JSON object as the last line")
    one.add_argument("--out", type=Path, required=True, help="folder for room_0000, room_0001, ..")
    one.add_argument("--num", type=int, default=200, help="how many rooms")
    one.add_argument("--seed", type=int, default=0, help="another seed, other rooms")
    one.add_argument("--views", type=int, default=20, help="images per room")
    one.add_argument("--workers", type=int, default=2, help="processes")
    one.add_argument("--size", default="320x240", help="of an image, WIDTHxHEIGHT")
    one.add_argument("--split", default="train", help="models: train, or held-out from training")
    one.set_defaults(train_command=_rooms)

    from geopurify_ros.train.student_cli import add_commands
    from geopurify_ros.train.study_cli import add_studies

    add_commands(what)
    add_studies(what)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen command; what it returns is printed under --json."""
    result: dict[str, Any] = args.train_command(args)
    return result


def _rooms(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.errors import ConfigError
    from geopurify_ros.train.rooms import RoomSettings, make_rooms

    try:
        width, height = (int(part) for part in args.size.split("x"))
    except ValueError as error:
        raise ConfigError(f"--size is {args.size}, expected WIDTHxHEIGHT as in 320x240") from error
    settings = RoomSettings(args.views, width, height, args.seed, args.split)
    result = make_rooms(args.out, args.num, settings, args.workers)
    text = "{made} rooms made, {rooms} of {views} views in {out} (keep their models.txt)"
    print(text.format(**result), file=sys.stderr if args.json else sys.stdout)
    return result
