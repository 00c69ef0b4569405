"""ROS parameters, made from the configuration dataclasses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from geopurify_ros.config import Config, Setting, settings, with_values
from geopurify_ros.config_fields import nearest
from geopurify_ros.config_file import matches_node, section_names
from geopurify_ros.core.answers.query import MAX_NEGATIVES, parse_prompts
from geopurify_ros.errors import ConfigError, GeoPurifyError, InputError

_OF_ROS = ("qos_overrides.", "use_sim_time", "start_type_description_service")
_WHEN = "read when the node is configured"


def declare_config(node: Node, defaults: Config) -> Config:
    """Declare every parameter on `node` and read what the user set.

    Raises:
        ConfigError: a value of the wrong type or out of range; the sentence names it.
    """
    values = {}
    for name, spec in settings(defaults).items():
        # Types and ranges are checked by Config, whose messages say what to do; rclpy would only
        # say that "5" is no double. Ranges are declared when the value is known to keep them.
        plain = ParameterDescriptor(dynamic_typing=True)
        values[name] = node.declare_parameter(name, spec.value, plain).value
    config = with_values(defaults, values)
    for name, spec in settings(config).items():
        node.undeclare_parameter(name)
        node.declare_parameter(name, spec.value, _descriptor(spec), ignore_override=True)
    return config


def follow_changes(
    node: Node,
    current: Callable[[], Config],
    is_configured: Callable[[], bool],
    accept: Callable[[Config], None],
) -> None:
    """Let parameters change: `accept` gets the new configuration once it is checked.

    Live ones at any time, the others before the node is configured with them.
    """

    def on_set(parameters: list[Parameter]) -> SetParametersResult:
        known = settings(current())
        values = {p.name: p.value for p in parameters if p.name in known}
        if not values:
            return SetParametersResult(successful=True)
        try:
            if is_configured():
                _check_live(node, [n for n in values if not known[n].live])
            changed = with_values(current(), values)
            check_prompts_in(changed)
            accept(changed)
        except GeoPurifyError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(on_set)


def _check_live(node: Node, fixed: list[str]) -> None:
    if fixed:
        name = node.get_fully_qualified_name()
        raise ConfigError(
            f"{', '.join(fixed)} is read when the node is configured: set it at the start, or "
            f"after `ros2 lifecycle set {name} deactivate` and `cleanup`, which frees the map"
        )


def ignored_parameters(node: Node, arguments: list[str]) -> list[str]:
    """A sentence for each thing the user set that nobody reads.

    `arguments`: the command line, for the parameter files in it.
    """
    declared = settings(Config())
    given = getattr(node, "_parameter_overrides", {})  # rclpy has no public list of them
    found = [
        f"there is no parameter {name}, it is ignored; the nearest are {nearest(name, declared)}"
        for name in sorted(given)
        if not node.has_parameter(name) and not name.startswith(_OF_ROS)
    ]
    own = node.get_fully_qualified_name()
    for flag, path in pairwise(arguments):
        if flag == "--params-file":
            sections = section_names(Path(path))
            if sections and not any(matches_node(one, own) for one in sections):
                found.append(
                    f"{path} sets nothing for {own}: it names {', '.join(sections)}; use the key "
                    f"/** or {own}"
                )
    return found


def check_prompts_in(config: Config) -> None:
    """Raise ConfigError for what only a query can tell: prompts in parameters."""
    for name, most in (("initial", config.query.max_prompts), ("negatives", MAX_NEGATIVES)):
        text = getattr(config.query, name)
        try:
            if text:
                parse_prompts(text, most)
        except InputError as error:
            raise ConfigError(f"query.{name}: {error}") from error


def _descriptor(spec: Setting) -> ParameterDescriptor:
    when = "" if spec.live or spec.at_start else _WHEN
    about = spec.about + (f" ({' | '.join(spec.choices)})" if spec.choices else "")
    descriptor = ParameterDescriptor(
        description=about, additional_constraints=when, read_only=spec.at_start
    )
    if isinstance(spec.value, float) and spec.low is not None and spec.high is not None:
        bounds = FloatingPointRange(from_value=float(spec.low), to_value=float(spec.high))
        descriptor.floating_point_range = [bounds]
    elif type(spec.value) is int and spec.low is not None and spec.high is not None:
        limits = IntegerRange(from_value=int(spec.low), to_value=int(spec.high), step=1)
        descriptor.integer_range = [limits]
    return descriptor
