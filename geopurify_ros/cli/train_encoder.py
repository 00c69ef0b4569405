"""`geopurify train text | encoder | score`: the built-in encoder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geopurify_ros.cli.options import say
from geopurify_ros.cli.train_options import add_command


def add_commands(what: Any) -> None:
    """Define the commands; heavy imports happen inside them."""
    one = add_command(what, "text", _text, "the text tower of the built-in encoder, from MiniLM")
    _add_training(one, steps=1400)
    one = add_command(
        what, "encoder", _encoder, "the image tower of the built-in encoder, and its file"
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
    one = add_command(what, "score", _score, "pixel scores of an encoder on labelled rooms")
    one.add_argument("--rooms", type=Path, required=True, help="folder of `train rooms`")
    one.add_argument("--encoder", default="builtin", help="as everywhere, or a file of ours")
    one.add_argument("--without-depth", action="store_true", help="by the colour images alone")
    one.add_argument("--out", type=Path, help="write the figures there as JSON")


def _add_training(parser: argparse.ArgumentParser, steps: int) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder of the training; what it holds is continued",
    )
    parser.add_argument("--steps", type=int, default=steps, help="in all")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness")


def _text(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.train.text.text_training import TextSettings, train_text

    result = train_text(args.out, TextSettings(steps=args.steps, seed=args.seed))
    say(args, f"text tower in {args.out}, {result['right']:.1%} of the known phrases right")
    return result


def _encoder(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.train.encoder.encoder_file import load_text, write_encoder
    from geopurify_ros.train.encoder.image_training import ImageSettings, train_image

    encode = load_text(args.text)
    settings = ImageSettings(steps=args.steps, seed=args.seed)
    result = train_image(args.out, args.rooms, args.traced, encode, settings, args.start)
    path = args.write or args.out / "encoder.safetensors"
    result["id"] = write_encoder(path, args.text, args.out)
    say(args, f"encoder {result['id']} written to {path}")
    return result


def _score(args: argparse.Namespace) -> dict[str, Any]:
    from geopurify_ros.data.output_files import check_target, write_report
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
    say(
        args,
        f"mIoU {result['miou']:.3f}, mAcc {result['macc']:.3f} in {len(folders)} rooms; "
        f"accuracy of classes never trained on {result['kept_out_mean']:.3f} "
        f"(mean of {len(result['kept_out'])}; {result['kept_out_pixels']:.3f} of their pixels)",
    )
    for truth, taken, share in result["confusions"][:8]:
        say(args, f"  {share:.0%} of {truth} is taken for {taken}")
    return result
