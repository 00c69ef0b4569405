"""`geopurify export`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geopurify_ros.cli.options import add_config, config_of, names_voxel_size, say

ABOUT = "purify a map file and write its features"


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Map, target."""
    one.add_argument("map", type=Path, help="a file that `geopurify map` wrote")
    one.add_argument("--features", type=Path, required=True, metavar="OUT",
                     help="file to write (.safetensors): positions_m, rgb and purified features "
                     "of length one, which a text vector of the encoder is multiplied with")
    add_config(one)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Purify the map and write what is left."""
    from geopurify_ros.offline.features import export_features

    asked = names_voxel_size(args)
    result = export_features(args.map, args.features, config_of(args), asked)
    say(args, "{num_voxels} voxels, {feature_dim} numbers each, in {features}".format(**result))
    return result
