"""`geopurify train table | probe | efficiency`: what teachers and students are worth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from geopurify_ros.cli.options import say
from geopurify_ros.cli.train_options import (
    add_command,
    add_scenes,
    add_schedule,
    add_student,
    add_teacher,
    run_of,
    scenes_of,
    teacher_of,
)

_RANDOM_DRAWS = 4  # one draw of random weights may be a lucky or an unlucky one


def add_commands(what: Any) -> None:
    """Define the commands; heavy imports happen inside them."""
    one = add_command(what, "table", _table, "raw, baselines, students and ceiling on sequences")
    one.add_argument("sequences", type=Path, nargs="+", help="labelled, never trained on")
    one.add_argument("--student", action="append", default=[], metavar="NAME=FILE",
                     help="a checkpoint; those of one name are averaged (seeds)")
    one.add_argument("--selfsup", type=Path, help="teacher, as an embedding of its own")
    one.add_argument("--geometric", action="store_true", help="the same for that teacher")
    one.add_argument("--out", type=Path, help="JSON file to write")
    _add_mapping(one)

    one = add_command(what, "probe", _probe, "linear probe of teachers, closed-form ridge")
    one.add_argument("--train", type=Path, nargs="+", required=True, help="labelled sequences")
    one.add_argument("--test", type=Path, nargs="+", required=True, help="others, to score on")
    one.add_argument("--selfsup", type=Path, help="weights of the teacher")
    _add_mapping(one)

    one = add_command(what, "efficiency", _efficiency, "students from ever more scenes")
    add_scenes(one)
    add_schedule(one, steps=2000, base_lr=1e-3)
    add_teacher(one)
    add_student(one)
    one.add_argument("--test", type=Path, nargs="+", required=True, help="labelled sequences")
    one.add_argument("--sizes", type=int, nargs="+", default=[5, 10, 20, 40])
    one.add_argument("--seeds", type=int, default=3, help="students per size")
    _add_mapping(one)


def _add_mapping(one: argparse.ArgumentParser) -> None:
    one.add_argument("--encoder", default="builtin", help="of the maps that are scored")
    one.add_argument("--voxel-size", type=float, default=0.05, help="edge of a voxel, metres")
    one.add_argument("--every", type=int, default=1, help="use every n-th frame")
    one.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                     help="any parameter, as in --set purify.iterations=60")


def _config(args: argparse.Namespace) -> Any:
    from geopurify_ros.config import Config, with_values
    from geopurify_ros.config_file import with_assignments
    from geopurify_ros.errors import ConfigError

    if args.every < 1:
        raise ConfigError(f"every is {args.every}, expected 1 or more")
    config = with_values(Config(), {"map.voxel_size_m": args.voxel_size})
    return with_assignments(config, args.set)


def _mapped(args: argparse.Namespace, folders: list[Path]) -> Any:
    """(name, Mapped) of labelled sequences, one after the other."""
    from geopurify_ros.core.pipeline import Pipeline
    from geopurify_ros.data.readers.formats import open_labeled
    from geopurify_ros.encoders import load_encoder, pick_device
    from geopurify_ros.evaluate.runner import map_sequence

    config, device = _config(args), pick_device("auto")
    encoder = load_encoder(args.encoder, device, config.encoder.dtype)
    for folder in folders:
        recording, pipeline = open_labeled(folder, config), Pipeline(encoder, config, device)
        yield folder.resolve().name, map_sequence(recording, pipeline, args.every)


def _candidates(args: argparse.Namespace) -> Any:
    from geopurify_ros.data.student_file import load_student
    from geopurify_ros.errors import ConfigError
    from geopurify_ros.train.students.teachers.geometric import GeometricTeacher
    from geopurify_ros.train.students.teachers.selfsup import load_selfsup
    from geopurify_ros.train.studies.table import (
        UNTRAINED,
        baselines,
        of_student,
        of_teacher,
        untrained_like,
    )

    found = baselines()
    if args.geometric:
        found.append(of_teacher("teacher geometric", GeometricTeacher().features))
    if args.selfsup:
        found.append(of_teacher("teacher selfsup", load_selfsup(args.selfsup).features))
    for text in args.student:
        name, equals, path = text.partition("=")
        if not equals:
            raise ConfigError(f"'{text}' is not of the form NAME=FILE")
        net, _ = load_student(Path(path))
        if not any(one.name == UNTRAINED for one in found):
            found += [of_student(UNTRAINED, untrained_like(net, k)) for k in range(_RANDOM_DRAWS)]
        found.append(of_student(name, net))
    return found


def _table(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.data.output_files import check_target, write_report
    from geopurify_ros.train.studies import leads
    from geopurify_ros.train.studies.table import (
        CEILING,
        RAW,
        SOFT,
        UNTRAINED,
        markdown,
        summarize,
        table_of,
    )

    if args.out:
        check_target(args.out, "report")
    candidates, rooms = _candidates(args), []
    for name, mapped in _mapped(args, args.sequences):
        rooms.append(table_of(mapped, name, candidates))
        print(f"{name}:\n{markdown(summarize(rooms[-1:]))}", file=sys.stderr)
    result = {
        "encoder": args.encoder, "voxel_size_m": args.voxel_size, "set": args.set,
        "rooms": rooms, "summary": summarize(rooms),
    }
    reference = UNTRAINED if UNTRAINED in rooms[0]["rows"] else SOFT
    found = leads.leads_over(rooms, reference, RAW, CEILING)
    result["leads"] = {"over": reference, **{name: vars(lead) for name, lead in found.items()}}
    if args.out:
        write_report(args.out, result)
    say(args, markdown(result["summary"]))
    say(args, leads.markdown(found, reference))
    return result


def _probe(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.train.students.teachers.geometric import GeometricTeacher
    from geopurify_ros.train.students.teachers.selfsup import load_selfsup, random_teacher
    from geopurify_ros.train.studies.probe import labeled_scenes, probe, raw_features

    config = _config(args)
    train = labeled_scenes(args.train, config, args.every)
    test = labeled_scenes(args.test, config, args.every)
    untrained = [random_teacher(seed) for seed in range(_RANDOM_DRAWS)]
    rows = {
        "colour + normal + height": [raw_features],
        "geometric": [GeometricTeacher().features],
        "selfsup, random weights": [one.fused for one in untrained],
        "selfsup, random weights, its levels side by side": [one.uncentered for one in untrained],
    }
    if args.selfsup:
        teacher = load_selfsup(args.selfsup)
        rows["selfsup"] = [teacher.fused]
        rows["selfsup, its levels side by side"] = [teacher.uncentered]
    result = {}
    for name, features in rows.items():
        found = [probe(train, test, one) for one in features]
        miou, macc = fmean(one.miou for one in found), fmean(one.macc for one in found)
        draws = [{"miou": one.miou, "macc": one.macc, "per_class": one.iou} for one in found]
        result[name] = {"miou": miou, "macc": macc, "draws": draws}
        say(args, f"| {name} | {miou:.3f} | {macc:.3f} |")
    return result


def _efficiency(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.train.studies.efficiency import data_efficiency

    rooms = list(_mapped(args, args.test))
    cache = args.cache or args.scenes / "teacher"
    result = data_efficiency(scenes_of(args), rooms, teacher_of(args), run_of(args), args.sizes,
                             args.seeds, args.out, cache)
    for point in result["points"]:
        say(args, "{scenes} scenes, seed {seed}: mIoU {miou:.3f}".format(**point))
    return result
