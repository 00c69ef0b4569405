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
        text = "{prompt}: not there"
        if one["unreadable"]:
            text += " ({unreadable})"
        if one["found"]:
            x, y, z = one["best_position_m"]
            text = "{prompt}: found, {num_voxels} voxels, score {score:.2f}, "
            text += f"best at x {x:.2f} y {y:.2f} z {z:.2f} m"
        say(args, text.format(**one))
    return result
