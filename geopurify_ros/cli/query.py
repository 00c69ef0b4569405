"""`geopurify query`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geopurify_ros.cli.options import add_config, config_of, names_voxel_size, say
from geopurify_ros.errors import InputError

ABOUT = "ask a map file"


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Map, question, targets."""
    one.add_argument("map", type=Path, help="a file that `geopurify map` wrote")
    one.add_argument("prompts", help='what to look for, "chair, table"')
    one.add_argument("--out", type=Path, help="labelled point cloud to write (.ply)")
    one.add_argument("--png", type=Path, nargs="?", const=Path(""),
                     help="picture to write; without a name beside --out")
    one.add_argument("--explain", action="store_true",
                     help="say how each prompt was read, and what things would be instead")
    add_config(one)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Purify the map and say what it holds."""
    from geopurify_ros.offline.asking import query_file

    png = args.png
    if png == Path(""):
        if args.out is None:
            raise InputError("--png without a name needs --out to stand beside")
        png = args.out.parent / f"{args.out.stem}.png"
    asked = names_voxel_size(args)
    result = query_file(args.map, args.prompts, config_of(args), args.out, png, asked)
    for one in result["prompts"]:
        say(args, _sentence(one, args.explain))
    return result


def _sentence(one: dict[str, Any], explain: bool) -> str:
    """What a map says of one prompt."""
    if one["unreadable"]:
        return "{prompt}: not there ({unreadable})".format(**one)
    if one["found"]:
        x, y, z = one["best_position_m"]
        pieces = "1 piece" if one["num_pieces"] == 1 else f"{one['num_pieces']} pieces"
        text = f"{{prompt}}: found, {{num_voxels}} voxels in {pieces}, score {{score:.2f}}, "
        text += f"best at x {x:.2f} y {y:.2f} z {z:.2f} m"
    else:
        text = "{prompt}: not there"
        if one["nearest"]:
            text += "; nearest: {nearest} {nearest_score:.2f}"
    if explain and one["read_as"] != one["prompt"]:
        text += '; read as "{read_as}"'
    if explain and one["otherwise"]:
        text += "; instead it would be mostly: {otherwise}"
    if explain and not one["is_calibrated"]:
        text += "; the score is not calibrated"
    return text.format(**one)
