"""Fields of configuration dataclasses: meaning, range and choices of each, checks, replacement."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from geopurify_ros.errors import ConfigError

_T = TypeVar("_T")
Value = bool | int | float | str


def setting(
    default: _T,
    about: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
    at_start: bool = False,
) -> _T:
    """A dataclass field with what a user must know of it: meaning, range, choices.

    A `live` one may change while the node runs, one `at_start` never; the others are read when
    the node is configured.
    """
    metadata = {"about": about, "low": low, "high": high, "choices": choices, "live": live,
                "at_start": at_start}
    made: _T = field(default=default, metadata=metadata)
    return made


@dataclass(frozen=True)
class Setting:
    """One parameter: its value and what a user must know of it."""

    value: Value
    about: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    live: bool  # may change while the node runs
    at_start: bool  # read once, when the process starts


def settings(config: Any) -> dict[str, Setting]:
    """All parameters of a dataclass of groups by dotted name, in their order."""
    found: dict[str, Setting] = {}
    for group in dataclasses.fields(config):
        values = getattr(config, group.name)
        for item in dataclasses.fields(values):
            found[f"{group.name}.{item.name}"] = Setting(
                getattr(values, item.name), **item.metadata
            )
    return found


def check(name: str, value: Value, spec: Setting) -> None:
    """Raise ConfigError unless `value` is among the choices and in the range."""
    if spec.choices and value not in spec.choices:
        raise ConfigError(f"{name} is {value!r}, expected one of {', '.join(spec.choices)}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = spec.low, spec.high
        # written so that NaN fails too
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            raise ConfigError(f"{name} is {value}, expected {low} to {high}")


def _convert(name: str, value: Any, default: Value) -> Value:
    """`value` in the type of `default`, or ConfigError; an int will do for a float."""
    kind = type(default)
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        # text too: 1e6 is a number to ROS but not to PyYAML
        with contextlib.suppress(ValueError, OverflowError):
            return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{name} is {value!r}, expected a {kind.__name__}")
    checked: Value = value
    return checked


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """The three names of `known` that are most like `name`, as text."""
    return ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.0))


def with_values(config: _T, values: Mapping[str, Any]) -> _T:
    """`config` with the dotted names in `values` replaced; unknown names are ConfigErrors."""
    known = settings(config)
    groups: dict[str, dict[str, Value]] = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(
                f"there is no parameter {name}; the nearest are {nearest(name, known)}"
            )
        group, item = name.split(".")
        groups.setdefault(group, {})[item] = _convert(name, value, known[name].value)
    changed = {g: dataclasses.replace(getattr(config, g), **v) for g, v in groups.items()}
    return dataclasses.replace(config, **changed)  # type: ignore[type-var]
