"""`geopurify train rooms`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geopurify_ros.cli.options import say
from geopurify_ros.cli.train_options import add_command


def add_commands(what: Any) -> None:
    """Define the command; heavy imports happen inside it."""
    about = "furnished rooms with labels, from the models of sweethome3d-furniture"
    one = add_command(what, "rooms", _rooms, about)
    one.add_argument("--out", type=Path, required=True, help="folder for room_0000, room_0001, ..")
    one.add_argument("--num", type=int, default=200, help="how many rooms")
    one.add_argument("--seed", type=int, default=0, help="another seed, other rooms")
    one.add_argument("--views", type=int, default=20, help="images per room")
    one.add_argument("--workers", type=int, default=2, help="processes")
    one.add_argument("--size", default="320x240", help="of an image, WIDTHxHEIGHT")
    one.add_argument(
        "--split", default="train", help="models: train, held-out, or its parts validation, test"
    )
    one.add_argument(
        "--path-traced",
        action="store_true",
        help="lit by Blender's Cycles, about 4 s a view (Python 3.11, "
        "requirements-pathtrace.txt)",
    )
    one.add_argument(
        "--wide",
        action="store_true",
        help="colours and sizes of the furniture and distances vary far more: for `train encoder`",
    )
    one.add_argument(
        "--built",
        action="store_true",
        help="furniture built from parts beside that of the catalogue: for `train encoder`",
    )
    one.add_argument("--dense", action="store_true", help="many more small things")
    one.add_argument(
        "--disturbed",
        action="store_true",
        help="as bad sensors record it: coarse depth with holes and waves, and in half of the "
        "rooms each poor colour and inexact poses; the labels stay exact",
    )


def _rooms(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.errors import ConfigError
    from geopurify_ros.train.rooms.generate import RoomSettings, make_rooms

    try:
        width, height = (int(part) for part in args.size.split("x"))
    except ValueError as error:
        raise ConfigError(f"--size is {args.size}, expected WIDTHxHEIGHT as in 320x240") from error
    settings = RoomSettings(
        args.views, width, height, args.seed, args.split, args.path_traced, args.wide,
        args.built, args.dense, args.disturbed,
    )  # fmt: skip
    result = make_rooms(args.out, args.num, settings, args.workers)
    text = "{made} rooms made, {rooms} of {views} views in {out} (keep their models.txt)"
    say(args, text.format(**result))
    return result
