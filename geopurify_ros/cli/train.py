"""`geopurify train ...`: what can be trained or made for training."""

from __future__ import annotations

import argparse
from typing import Any

from geopurify_ros.cli import (
    train_answers,
    train_basis,
    train_encoder,
    train_rooms,
    train_students,
    train_studies,
)

ABOUT = "make training data, and train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A subcommand for each."""
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for group in (train_rooms, train_encoder, train_basis, train_answers, train_students,
                  train_studies):
        group.add_commands(what)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen command; what it returns is printed under --json."""
    result: dict[str, Any] = args.train_command(args)
    return result
