"""The command line: `geopurify COMMAND`, one file per command or group of commands.

Each file has ABOUT, add_arguments(parser) and run(args); heavy imports happen inside run:
`geopurify --help` must not wait for torch.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import math
import os
import sys
from typing import Any, NoReturn

from geopurify_ros import __version__
from geopurify_ros.errors import GeoPurifyError
from geopurify_ros.threads import wait_briefly

GROUPS = {
    "use": ("demo", "run", "play", "map", "query", "export"),
    "look": ("doctor",),
    "measure": ("eval", "bench"),
    "train": ("train",),
}
_NEED_ROS = ("run", "play", "doctor", "demo")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 on success, 2 and one sentence on a user's error."""
    wait_briefly()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    args = _parser().parse_args(arguments)
    try:
        result = args.command(args)
    except GeoPurifyError as error:
        print(f"geopurify {args.name}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if args.name not in _NEED_ROS:
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
    modules = {name: importlib.import_module(f"{__name__}.{name}")
               for names in GROUPS.values() for name in names}
    parser = _Parser(
        prog="geopurify", epilog=_listed({name: m.ABOUT for name, m in modules.items()}),
        description="Text-queryable voxel maps of RGB-D streams, purified.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(
        dest="name", required=True, metavar="COMMAND",
        help="one of those below; geopurify COMMAND --help tells more",
    )
    for name, module in modules.items():
        one = commands.add_parser(name, description=module.ABOUT)
        one.add_argument("--json", action="store_true", help="one JSON object as the last line")
        one.set_defaults(command=module.run)
        module.add_arguments(one)
    return parser


def _listed(about: dict[str, str]) -> str:
    """The commands, by what they are for."""
    lines = []
    for group, names in GROUPS.items():
        lines.append(f"{group}:")
        lines += [f"  {name:8}{about[name]}" for name in names]
    return "\n".join(lines)


def _without_nan(value: Any) -> Any:
    """The mean over no class is NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
