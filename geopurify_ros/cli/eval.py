"""`geopurify eval`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geopurify_ros.cli.options import add_config, add_depth_unit, add_every, config_of, say

ABOUT = "score raw, blurred and purified labels"


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Labelled sequence."""
    one.add_argument("sequence", type=Path, help="sequence folder with label/ and classes.json")
    add_config(one)
    add_depth_unit(one)
    add_every(one)
    one.add_argument("--queries", action="store_true",
                     help="ask for names as a user does, present and absent ones, as well")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Map the sequence and compare the labels with its truth."""
    from geopurify_ros.data.readers.formats import open_labeled
    from geopurify_ros.evaluate.queries import evaluate_queries, format_queries
    from geopurify_ros.evaluate.runner import evaluate, format_scores, map_sequence
    from geopurify_ros.offline.pipeline import new_pipeline

    config = config_of(args)
    sequence = open_labeled(args.sequence, config)
    mapped = map_sequence(sequence, new_pipeline(config), args.every)
    result = evaluate(mapped, args.sequence.resolve().name)
    say(args, format_scores(result))
    if args.queries:
        result["queries"] = evaluate_queries(mapped)
        say(args, format_queries(result["queries"]))
    return result
