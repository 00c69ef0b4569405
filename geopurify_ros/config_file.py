"""Parameter files: the YAML that ROS reads, as a Config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from geopurify_ros.config import Config, with_values
from geopurify_ros.errors import ConfigError


def load_yaml(path: Path) -> Config:
    """The configuration in a ROS parameter file (`/**: ros__parameters:`)."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())  # YAML errors come with a drawing
        raise ConfigError(f"{path} cannot be read as YAML: {reason}") from error
    values: dict[str, Any] = {}
    for node in _mapping(document, path).values():
        _flatten(_mapping(_mapping(node, path).get("ros__parameters"), path), "", values)
    return with_values(Config(), values)


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
        elif f"{prefix}{key}" != "use_sim_time":  # every ROS node has this one of its own
            into[f"{prefix}{key}"] = value
