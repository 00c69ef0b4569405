"""The configuration as text: ROS parameter files (`/**: ros__parameters:`) and assignments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from geopurify_ros.config import Config, Setting, settings, with_values
from geopurify_ros.errors import ConfigError

_PARAMETERS, _SIM_TIME = "ros__parameters", "use_sim_time"
_OUR_NAMES = ("**", "*", "mapping")  # last part of a section's name


def as_yaml(config: Config) -> str:
    """A ROS parameter file with every parameter, its meaning and its limits."""
    lines = [
        "# Every parameter of the node `mapping` with its default; a test keeps it in step with "
        "the code.",
        "# `live` ones may change while the node runs: ros2 param set /geopurify/mapping NAME "
        "VALUE.",
        "# The same names work on the command line: geopurify map ... --set depth.max_m=4.0",
        "/**:",
        "  ros__parameters:",
    ]
    last_group = ""
    for name, spec in settings(config).items():
        group, item = name.split(".")
        if group != last_group:
            lines.append(f"    {group}:")
        last_group = group
        limits = _limits(spec)
        lines.append(f"      # {spec.about}" + (f" [{limits}]" if limits else ""))
        # JSON is YAML, and keeps 5.0 a float and "map" a string
        lines.append(f"      {item}: {json.dumps(spec.value)}")
    return "\n".join(lines) + "\n"


def _limits(spec: Setting) -> str:
    """What values it takes and when, "0 to 1, live"; empty where anything goes."""
    parts = [" | ".join(spec.choices)] if spec.choices else []
    if spec.low is not None and spec.high is not None:
        parts.append(f"{spec.low:g} to {spec.high:g}")
    return ", ".join(parts + ["live"] * spec.live)


def with_assignments(config: Config, assignments: list[str]) -> Config:
    """`config` after `["depth.max_m=4.0", ...]`; values are read as YAML."""
    values = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"'{text}' is not of the form name=value")
        try:
            values[name.strip()] = yaml.safe_load(value) if value.strip() else ""
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"the value of '{text}' cannot be read as YAML") from error
    return with_values(config, values)


def load_yaml(path: Path) -> Config:
    """The configuration in a ROS parameter file (`/**: ros__parameters:`).

    Sections of other nodes are left alone; those of `/**` and of any `mapping` count.

    Raises:
        ConfigError: no such file, no parameter file, or no section for this node.
    """
    values = _values_in(path)
    values.pop(_SIM_TIME, None)
    return with_values(Config(), values)


def uses_sim_time(path: Path) -> bool:
    """Whether a parameter file says use_sim_time, which every ROS node has of its own."""
    return bool(_values_in(path).get(_SIM_TIME, False))


def section_names(path: Path) -> list[str]:
    """Names of the nodes that a parameter file speaks of, "/geopurify/mapping" or "/**"."""
    return list(_sections_in(path))


def matches_node(section: str, name: str) -> bool:
    """Whether a section of a parameter file is for the node of this full name.

    As ROS has it: ** stands for any number of name parts, * for one.
    """
    patterns = (
        "(/[^/]+)*" if part == "**" else "/" + "[^/]+".join(map(re.escape, part.split("*")))
        for part in section.strip("/").split("/")
    )
    return re.fullmatch("".join(patterns), name) is not None


def _sections_in(path: Path) -> dict[str, Mapping[str, Any]]:
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())  # YAML errors come with a drawing
        raise ConfigError(f"{path} cannot be read as YAML: {reason}") from error
    return dict(_sections(_mapping(document, path), "", path))


def _values_in(path: Path) -> dict[str, Any]:
    sections = _sections_in(path)
    ours = [name for name in sections if name.rpartition("/")[2] in _OUR_NAMES]
    if sections and not ours:
        raise ConfigError(
            f"{path} has nothing for this node: it names {', '.join(sections)}, expected /** or "
            "mapping"
        )
    values: dict[str, Any] = {}
    for name in ours:
        _flatten(sections[name], "", values)
    return values


def _sections(
    tree: Mapping[str, Any], prefix: str, path: Path
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Names of nodes, with their namespaces, and what stands under their ros__parameters."""
    for key, value in tree.items():
        name, below = f"{prefix}/{key}".replace("//", "/"), _mapping(value, path)
        if _PARAMETERS in below:
            yield name, _mapping(below[_PARAMETERS], path)
        elif all(isinstance(one, Mapping) for one in below.values()):  # a namespace, or nothing
            yield from _sections(below, name, path)
        else:
            raise ConfigError(
                f"{path} is no ROS parameter file: expected /**: {_PARAMETERS}: ..., and there is "
                f"no {_PARAMETERS} under {key}"
            )


def _mapping(tree: Any, path: Path) -> Mapping[str, Any]:
    if tree is None:  # nothing but comments
        return {}
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{path} is no ROS parameter file: expected /**: ros__parameters: ...")
    return tree


def _flatten(tree: Mapping[str, Any], prefix: str, into: dict[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            _flatten(value, f"{prefix}{key}.", into)
        else:
            into[f"{prefix}{key}"] = value
