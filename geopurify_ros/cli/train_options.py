"""Options that several commands of `geopurify train` share, and what they say."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TEACHERS = ("geometric", "lifted", "selfsup", "sonata")


def add_command(
    what: Any, name: str, function: Callable[[argparse.Namespace], dict[str, Any]], about: str
) -> argparse.ArgumentParser:
    """A command of `geopurify train`."""
    one: argparse.ArgumentParser = what.add_parser(name, help=about, description=about)
    one.add_argument("--json", action="store_true", default=argparse.SUPPRESS,
                     help="one JSON object as the last line")
    one.set_defaults(train_command=function)
    return one


def add_teacher(one: argparse.ArgumentParser) -> None:
    """Options that name a teacher."""
    one.add_argument("--teacher", choices=TEACHERS, default="lifted",
                     help="who teaches; the shipped students: lifted")
    one.add_argument("--teacher-weights", type=Path, help="of the teachers selfsup and sonata")


def add_student(one: argparse.ArgumentParser) -> None:
    """Options of the student and its loss."""
    one.add_argument("--shape", choices=("small", "paper"), default="small")
    one.add_argument("--input", choices=("features", "geometry"), default="features",
                     help="geometry: colour, normal, density and height, for any encoder")
    one.add_argument("--sampling", choices=("paper", "improved"), default="improved",
                     help="how positives and negatives are chosen")
    one.add_argument("--anchors", type=int, default=0, help="per step, 0: 4096")


def add_scenes(one: argparse.ArgumentParser) -> None:
    """Options that name scenes and where results go."""
    one.add_argument("--scenes", type=Path, required=True, help="what `train scenes` made")
    one.add_argument("--num-scenes", type=int, help="use the first so many")
    one.add_argument("--out", type=Path, required=True,
                     help="folder for weights, curves and metrics; an interrupted run goes on")
    one.add_argument("--cache", type=Path, help="teacher features (default: beside the scenes)")
    one.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    one.add_argument("--max-voxels", type=int, default=16000, help="of the piece of a step")


def add_schedule(one: argparse.ArgumentParser, steps: int, base_lr: float) -> None:
    """Options of the training loop."""
    one.add_argument("--steps", type=int, default=steps)
    one.add_argument("--lr", type=float, default=base_lr, help="base learning rate")
    one.add_argument("--seed", type=int, default=0)


def schedule_of(args: argparse.Namespace) -> Any:
    """The schedule that the arguments name; a fiftieth of the steps is warm-up."""
    from geopurify_ros.errors import ConfigError
    from geopurify_ros.train.trainer import Schedule

    if args.steps < 1 or not args.lr > 0:
        raise ConfigError(f"steps is {args.steps} and lr {args.lr}, expected more than 0")
    return Schedule(args.steps, max(1, args.steps // 50), args.lr, seed=args.seed)


def scenes_of(args: argparse.Namespace) -> Any:
    """The scenes that the arguments name, on the device they name."""
    from geopurify_ros.encoders import pick_device
    from geopurify_ros.train.students.scenes import load_scenes

    return load_scenes(args.scenes, args.num_scenes, pick_device(args.device))


def run_of(args: argparse.Namespace) -> Any:
    """The student's run that the arguments name."""
    from geopurify_ros.train.students.student_run import StudentRun

    return StudentRun(args.shape, args.input, args.sampling, schedule_of(args), args.max_voxels,
                      args.anchors)


def teacher_of(args: argparse.Namespace) -> Any:
    """The teacher that the arguments name."""
    from geopurify_ros.errors import ConfigError

    learned = args.teacher in ("selfsup", "sonata")
    if learned and args.teacher_weights is None:
        raise ConfigError(f"the teacher {args.teacher} needs --teacher-weights")
    if not learned and args.teacher_weights is not None:
        raise ConfigError(f"the teacher {args.teacher} has no weights: leave --teacher-weights "
                          "out, or say --teacher selfsup or sonata")
    if args.teacher == "geometric":
        from geopurify_ros.train.students.teachers.geometric import GeometricTeacher

        return GeometricTeacher()
    if args.teacher == "lifted":
        from geopurify_ros.train.students.teachers.lifted import LiftedTeacher

        return LiftedTeacher()
    if args.teacher == "sonata":
        from geopurify_ros.train.students.teachers.sonata import load_sonata

        return load_sonata(args.teacher_weights)
    from geopurify_ros.train.students.teachers.selfsup import load_selfsup

    return load_selfsup(args.teacher_weights)

def mapped_rooms(pipeline: Any, folders: list[Path]) -> Iterator[tuple[str, Any]]:
    """(name, Mapped) of labelled sequences, all frames."""
    from geopurify_ros.data.readers.formats import open_labeled
    from geopurify_ros.evaluate.runner import map_sequence

    for folder in folders:
        pipeline.reset()
        recording = open_labeled(folder, pipeline.config)
        name = folder.resolve()
        yield f"{name.parent.name}/{name.name}", map_sequence(recording, pipeline)
