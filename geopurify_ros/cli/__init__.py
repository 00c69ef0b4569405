"""The command line: geopurify map | query | eval | run | play | doctor | bench | demo | train."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from geopurify_ros import __version__
from geopurify_ros.cameras import remappings
from geopurify_ros.cli.options import (
    add_config,
    add_depth_unit,
    add_every,
    add_topics,
    config_of,
    names_voxel_size,
    topics_of,
)
from geopurify_ros.config_file import uses_sim_time
from geopurify_ros.errors import GeoPurifyError, InputError
from geopurify_ros.signals import leave_on_signal
from geopurify_ros.threads import wait_briefly

# Each command imports what it needs: `geopurify --help` must not wait for torch.


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 on success, 2 and one sentence on a user's error."""
    wait_briefly()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        result = args.command(args)
    except GeoPurifyError as error:
        print(f"geopurify {args.name}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if args.name not in ("run", "play", "doctor", "demo"):
            raise
        print(f"geopurify {args.name}: {error.name} is missing: source your ROS 2 installation, "
              "or run `make setup` in the repository", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(result, int):
        return result
    if args.json:
        print(json.dumps(_without_nan(result), allow_nan=False))
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence instead of the whole usage."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="geopurify", description="Text-queryable voxel maps of RGB-D streams, purified."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    one = _command(commands, "map", _map, "map a sequence folder or a rosbag2 into a file")
    one.add_argument("sequence", type=Path,
                     help="folder with color/ depth/ pose/ intrinsic/, or rosbag2 (sqlite3, mcap)")
    add_topics(one)
    one.add_argument("--out", type=Path, required=True, help="map file to write (.safetensors)")
    add_config(one)
    add_depth_unit(one)
    add_every(one)

    one = _command(commands, "query", _query, "ask a map file")
    one.add_argument("map", type=Path, help="a file that `geopurify map` wrote")
    one.add_argument("prompts", help='what to look for, "chair, table"')
    one.add_argument("--out", type=Path, help="labelled point cloud to write (.ply)")
    one.add_argument("--png", type=Path, nargs="?", const=Path(""),
                     help="picture to write; without a name beside --out")
    add_config(one)

    one = _command(commands, "eval", _eval, "score raw, blurred and purified labels")
    one.add_argument("sequence", type=Path, help="sequence folder with label/ and classes.json")
    add_config(one)
    add_depth_unit(one)
    add_every(one)

    one = _command(commands, "run", _run, "start the node, without ros2 launch")
    one.add_argument("--namespace", default="geopurify", help="namespace of the node's topics")
    one.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], metavar="...",
                     help="passed on to ROS, as in ros2 run")
    add_topics(one)
    add_config(one)
    add_depth_unit(one)

    one = _command(commands, "play", _play, "publish a sequence or a rosbag2 as ROS topics")
    one.add_argument("sequence", type=Path, nargs="?",
                     help="sequence folder or rosbag2 (default: the sample)")
    one.add_argument("--rate", type=float, default=5.0, help="frames per second of a sequence")
    one.add_argument("--speed", type=float, default=1.0, help="times the recorded pace of a bag")
    one.add_argument("--clock", action="store_true", help="publish /clock, for use_sim_time")
    add_topics(one)
    add_depth_unit(one)
    one.add_argument("--loop", action="store_true", help="start again at the end")
    one.add_argument("--namespace", default="geopurify", help="namespace of the topics")
    one.add_argument("--map-frame", default="map", help="frame of the poses")
    one.add_argument("--wait", type=float, default=30.0, metavar="SECONDS",
                     help="wait so long for a subscriber, 0: do not wait")

    one = _command(commands, "doctor", _doctor, "say what is wrong with a running node")
    one.add_argument("--namespace", default="geopurify", help="namespace of the node")

    one = _command(commands, "bench", _bench, "measure the hot paths against plain code")
    one.add_argument("--quick", action="store_true", help="fewer repetitions")

    from geopurify_ros.cli.train import add_arguments

    add_arguments(_command(commands, "train", _train, "make training data, and train"))

    one = _command(commands, "demo", _demo, "node and player as two processes on the sample room")
    one.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the results")
    one.add_argument("--sequence", type=Path, help="another labelled sequence")
    one.add_argument("--rate", type=float, default=3.0, help="frames per second")
    return parser


def _command(commands: Any, name: str, function: Any, about: str) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    one.add_argument("--json", action="store_true", help="one JSON object as the last line")
    one.set_defaults(command=function)
    return one


def _without_nan(value: Any) -> Any:
    """The mean over no class is NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _say(args: argparse.Namespace, text: str) -> None:
    print(text, file=sys.stderr if args.json else sys.stdout)


def _map(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.cli.commands import map_to_file
    from geopurify_ros.evaluate.verdict import format_verdict

    result = map_to_file(args.sequence, args.out, config_of(args), args.every, topics_of(args))
    _say(args, "{num_voxels} voxels of {num_frames} frames in {map}".format(**result))
    for line in format_verdict(result["verdict"]):
        print(line, file=sys.stderr)
    return result


def _query(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.cli.commands import query_file

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
        _say(args, text.format(**one))
    return result


def _eval(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.cli.commands import evaluate_sequence, format_scores

    result = evaluate_sequence(args.sequence, config_of(args), args.every)
    _say(args, format_scores(result))
    return result


def _run(args: argparse.Namespace) -> int:
    leave_on_signal()
    from geopurify_ros.ros.main import run_node

    remap = ["-r", f"__ns:=/{args.namespace.strip('/')}", "-r", "__node:=mapping"]
    for own, topic in remappings(topics_of(args)):
        remap += ["-r", f"{own}:={topic}"]
    if args.config and uses_sim_time(args.config):
        remap += ["-p", "use_sim_time:=true"]
    tell = (lambda counts: print(json.dumps(counts))) if args.json else None
    return run_node(["geopurify", "--ros-args", *remap, *args.ros_args], config_of(args), tell)


def _play(args: argparse.Namespace) -> dict[str, Any]:
    _check_rate(args)
    from geopurify_ros.data.readers.bag_files import is_bag
    from geopurify_ros.ros.tools.sequence_player import play_sequence

    folder = args.sequence or sample_room()
    if is_bag(folder) or folder.is_file():
        from geopurify_ros.ros.tools.bag_player import play_bag

        result = play_bag(folder, topics_of(args), args.speed, args.loop, args.namespace,
                          args.wait, args.clock)
        _say(args, f"published {result['messages']} messages of {folder}")
        return result
    result = play_sequence(
        folder, args.rate, args.loop, args.namespace, args.map_frame, args.wait, args.clock,
        args.depth_unit or 0.0,
    )
    _say(args, f"published {result['frames']} frames of {folder}")
    return result


def _doctor(args: argparse.Namespace) -> dict[str, Any] | int:
    from geopurify_ros.ros.tools.doctor import examine

    result = examine(args.namespace, lambda text: _say(args, text))
    if args.json:
        print(json.dumps(result))
    return 0 if result["ok"] else 1


def _check_rate(args: argparse.Namespace) -> None:
    if not 0 < getattr(args, "speed", 1.0) <= 1000:
        raise InputError(f"--speed is {args.speed}, expected more than 0, at most 1000")
    if not 0 < args.rate <= 1000:  # true for NaN
        raise InputError(f"--rate is {args.rate}, expected more than 0, at most 1000 per second")


def _bench(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.evaluate.bench import format_bench, run_bench

    try:
        from geopurify_ros.ros.tools.bench_pack import pack, plain_pack

        packers = (pack, plain_pack)
    except ImportError as error:
        _say(args, f"packing clouds is left out, it needs ROS 2 ({error.name} is missing)")
        packers = None
    result = run_bench(args.quick, packers)
    _say(args, format_bench(result))
    return result


def _train(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.cli.train import run

    return run(args)


def _demo(args: argparse.Namespace) -> dict[str, Any]:
    _check_rate(args)
    from geopurify_ros.ros.tools.demo import run_demo

    summary: dict[str, Any] = run_demo(
        args.sequence or sample_room(), args.out, args.rate, lambda text: _say(args, text)
    )
    return summary


def sample_room() -> Path:
    """The sequence that comes with the package."""
    return Path(__file__).parents[1] / "assets" / "sample_room"

