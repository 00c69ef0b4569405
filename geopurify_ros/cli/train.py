"""`geopurify train ...`: arguments and dispatch. Heavy imports happen inside the commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define what can be trained or made for training."""
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    about = "furnished rooms with labels, from the models of sweethome3d-furniture"
    one = _command(what, "rooms", about, _rooms)
    one.add_argument("--out", type=Path, required=True, help="folder for room_0000, room_0001, ..")
    one.add_argument("--num", type=int, default=200, help="how many rooms")
    one.add_argument("--seed", type=int, default=0, help="another seed, other rooms")
    one.add_argument("--views", type=int, default=20, help="images per room")
    one.add_argument("--workers", type=int, default=2, help="processes")
    one.add_argument("--size", default="320x240", help="of an image, WIDTHxHEIGHT")
    one.add_argument(
        "--split", default="train", help="models: train, held-out, or its parts validation, test"
    )
    one.add_argument(
        "--path-traced",
        action="store_true",
        help="lit by Blender's Cycles, about 4 s a view (Python 3.11, "
        "requirements-pathtrace.txt)",
    )
    one.add_argument(
        "--wide",
        action="store_true",
        help="colours and sizes of the furniture and distances vary far more: for `train encoder`",
    )
    one.add_argument(
        "--built",
        action="store_true",
        help="furniture built from parts beside that of the catalogue: for `train encoder`",
    )
    one = _command(what, "text", "the text tower of the built-in encoder, from MiniLM", _text)
    _add_training(one, steps=1400)
    one = _command(
        what, "encoder", "the image tower of the built-in encoder, and its file", _encoder
    )
    _add_training(one, steps=8000)
    one.add_argument(
        "--text", type=Path, required=True, help="folder of `train text`, or an encoder's file"
    )
    one.add_argument(
        "--rooms", type=Path, nargs="+", required=True, help="folders of `train rooms`"
    )
    one.add_argument("--traced", type=Path, help="another one, path-traced")
    one.add_argument(
        "--start", type=Path,
        help="folder of another training: begin with its weights, at half the learning rate",
    )  # fmt: skip
    one.add_argument(
        "--write", type=Path, help="the encoder's file, default OUT/encoder.safetensors"
    )
    one = _command(what, "score", "pixel scores of an encoder on labelled rooms", _score)
    one.add_argument("--rooms", type=Path, required=True, help="folder of `train rooms`")
    one.add_argument("--encoder", default="builtin", help="as everywhere, or a file of ours")
    one.add_argument("--without-depth", action="store_true", help="by the colour images alone")
    one.add_argument("--out", type=Path, help="write the figures there as JSON")

    from geopurify_ros.cli.train_students import add_commands
    from geopurify_ros.cli.train_studies import add_studies

    add_commands(what)
    add_studies(what)


def _command(
    what: Any, name: str, about: str, command: Callable[[argparse.Namespace], dict[str, Any]]
) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = what.add_parser(name, help=about, description=about)
    one.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="one JSON object as the last line",
    )
    one.set_defaults(train_command=command)
    return one


def _add_training(parser: argparse.ArgumentParser, steps: int) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder of the training; what it holds is continued",
    )
    parser.add_argument("--steps", type=int, default=steps, help="in all")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen command; what it returns is printed under --json."""
    result: dict[str, Any] = args.train_command(args)
    return result


def _rooms(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.errors import ConfigError
    from geopurify_ros.train.rooms.generate import RoomSettings, make_rooms

    try:
        width, height = (int(part) for part in args.size.split("x"))
    except ValueError as error:
        raise ConfigError(f"--size is {args.size}, expected WIDTHxHEIGHT as in 320x240") from error
    settings = RoomSettings(
        args.views, width, height, args.seed, args.split, args.path_traced, args.wide,
        args.built,
    )  # fmt: skip
    result = make_rooms(args.out, args.num, settings, args.workers)
    text = "{made} rooms made, {rooms} of {views} views in {out} (keep their models.txt)"
    _tell(args, text.format(**result))
    return result


def _text(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.train.text.text_training import TextSettings, train_text

    result = train_text(args.out, TextSettings(steps=args.steps, seed=args.seed))
    _tell(args, f"text tower in {args.out}, {result['right']:.1%} of the known phrases right")
    return result


def _encoder(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.train.encoder.image_training import ImageSettings, train_image
    from geopurify_ros.train.encoder.ship import load_text, write_encoder

    encode = load_text(args.text)
    settings = ImageSettings(steps=args.steps, seed=args.seed)
    result = train_image(args.out, args.rooms, args.traced, encode, settings, args.start)
    path = args.write or args.out / "encoder.safetensors"
    result["id"] = write_encoder(path, args.text, args.out)
    _tell(args, f"encoder {result['id']} written to {path}")
    return result


def _score(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.data.targets import check_target, write_report
    from geopurify_ros.encoders import load_encoder, pick_device
    from geopurify_ros.errors import InputError
    from geopurify_ros.evaluate.pixels import score_pixels
    from geopurify_ros.train.rooms.catalogue import KEPT_OUT_CLASSES
    from geopurify_ros.train.rooms.classes import room_classes

    if args.out:
        check_target(args.out, "report")
    folders = sorted(args.rooms.glob("room_*"))
    if not folders:
        raise InputError(f"no rooms in {args.rooms}: make some with `geopurify train rooms`")
    encoder = load_encoder(args.encoder, pick_device("auto"))
    result = score_pixels(
        encoder, folders, tuple(room_classes()), KEPT_OUT_CLASSES, not args.without_depth
    )
    if args.out:
        write_report(args.out, result)
    _tell(
        args,
        f"mIoU {result['miou']:.3f}, mAcc {result['macc']:.3f} in {len(folders)} rooms; "
        f"accuracy of classes never trained on {result['kept_out_mean']:.3f} "
        f"(mean of {len(result['kept_out'])}; {result['kept_out_pixels']:.3f} of their pixels)",
    )
    for truth, taken, share in result["confusions"][:8]:
        _tell(args, f"  {share:.0%} of {truth} is taken for {taken}")
    return result


def _tell(args: argparse.Namespace, text: str) -> None:
    print(text, file=sys.stderr if args.json else sys.stdout)
