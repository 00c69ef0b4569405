"""`geopurify train basis`: the directions that an encoder's features are pooled in."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from geopurify_ros.cli.options import say
from geopurify_ros.cli.train_options import add_command, mapped_rooms


def add_commands(what: Any) -> None:
    """Define the command; heavy imports happen inside it."""
    one = add_command(what, "basis", _basis, "the directions that features of an encoder use")
    one.add_argument("--rooms", type=Path, nargs="+", required=True,
                     help="labelled sequences that it is derived from")
    one.add_argument("--check", type=Path, nargs="+", required=True,
                     help="others, whose labels say how many directions are needed")
    one.add_argument("--encoder", default="builtin", help="builtin, or a file of its format")
    one.add_argument("--out", type=Path, required=True, help="file to write (.safetensors)")


def _basis(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.data.output_files import check_target
    from geopurify_ros.encoders.basis_file import BASIS_KIND
    from geopurify_ros.errors import InputError
    from geopurify_ros.train.studies import basis

    check_target(args.out, BASIS_KIND)
    moment, names = basis.moments_of(_mapped(args, args.rooms))
    figures = basis.check(_mapped(args, args.check), moment)
    for name, of_room in figures.items():
        print(f"{name}:\n{basis.table(of_room)}", file=sys.stderr)
    rows = basis.worst(figures)
    say(args, basis.table(rows))
    chosen = basis.smallest(rows)
    if chosen is None:
        raise InputError("no rank gives the labels of direct pooling: nothing was written")
    header = basis.header_of(_encoder(args).id, chosen, names, list(figures))
    basis.write(args.out, moment, header)
    say(args, f"{args.out}: {chosen.rank} of {len(moment)} directions")
    return {"out": str(args.out), **header}


def _encoder(args: argparse.Namespace) -> Any:
    from geopurify_ros.encoders import load_encoder, pick_device

    return load_encoder(args.encoder, pick_device("auto"))


def _mapped(args: argparse.Namespace, folders: list[Path]) -> Any:
    """(name, Mapped) of labelled sequences, all frames, with the student of the encoder."""
    from geopurify_ros.config import Config, with_values
    from geopurify_ros.offline.pipeline import new_pipeline

    config = with_values(Config(), {"encoder.name": args.encoder})
    return mapped_rooms(new_pipeline(config), folders)
