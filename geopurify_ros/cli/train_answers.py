"""`geopurify train answers`: vocabulary, sizes and calibration of an encoder's answers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geopurify_ros.cli.options import say
from geopurify_ros.cli.train_options import add_command, mapped_rooms


def add_commands(what: Any) -> None:
    """Define the command; heavy imports happen inside it."""
    one = add_command(what, "answers", _answers, "how far the answers of builtin can be trusted")
    one.add_argument("--rooms", type=Path, nargs="+", required=True,
                     help="labelled training rooms, for the sizes of things")
    one.add_argument("--check", type=Path, nargs="+", required=True,
                     help="labelled validation rooms, for the calibration")
    one.add_argument("--encoder", default="builtin", help="builtin, or a file of its format")
    one.add_argument("--out", type=Path, required=True, help="file to write (.json)")


def _answers(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.config import Config, with_values
    from geopurify_ros.core.pipeline import Pipeline
    from geopurify_ros.data.output_files import check_target
    from geopurify_ros.encoders.none import NoEncoder
    from geopurify_ros.offline.pipeline import new_pipeline
    from geopurify_ros.train.studies import answers

    check_target(args.out, "report")
    config = with_values(Config(), {"encoder.name": args.encoder})
    areas_m2 = answers.areas_of(mapped_rooms(Pipeline(NoEncoder(), config), args.rooms))
    usual = new_pipeline(config)
    answers.with_profile(usual.encoder, answers.profile_of(areas_m2))
    pipeline = Pipeline(usual.encoder, config, usual.device, usual.student)
    rooms = {}
    for name, mapped in mapped_rooms(pipeline, args.check):
        pipeline.purify()
        rooms[name] = answers.leads_of(mapped)
    curve = answers.calibration(rooms)
    answers.write(args.out, usual.encoder.id, areas_m2, curve)
    text = "{out}: sizes of {num} names; slope {slope}, offset {offset}, calibration error {ece}"
    say(args, text.format(out=args.out, num=len(areas_m2), **curve))
    return {"out": str(args.out), "num_sizes": len(areas_m2), **curve}
