"""ROS parameters, made from the configuration dataclasses."""

from __future__ import annotations

from collections.abc import Callable

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from geopurify_ros.config import Config, Setting, settings, with_values
from geopurify_ros.core.query import MAX_NEGATIVES, parse_prompts
from geopurify_ros.errors import ConfigError, GeoPurifyError, InputError


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
    node: Node, current: Callable[[], Config], accept: Callable[[Config], None]
) -> None:
    """Let live parameters change: `accept` gets the new configuration once it is checked."""

    def on_set(parameters: list[Parameter]) -> SetParametersResult:
        known = settings(current())
        values = {p.name: p.value for p in parameters if p.name in known}
        if not values:
            return SetParametersResult(successful=True)
        try:
            changed = with_values(current(), values)
            check_prompts_in(changed)
            accept(changed)
        except GeoPurifyError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(on_set)


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
    about = spec.about + (f" ({' | '.join(spec.choices)})" if spec.choices else "")
    descriptor = ParameterDescriptor(description=about, read_only=not spec.live)
    if isinstance(spec.value, float) and spec.low is not None and spec.high is not None:
        bounds = FloatingPointRange(from_value=float(spec.low), to_value=float(spec.high))
        descriptor.floating_point_range = [bounds]
    elif type(spec.value) is int and spec.low is not None and spec.high is not None:
        limits = IntegerRange(from_value=int(spec.low), to_value=int(spec.high), step=1)
        descriptor.integer_range = [limits]
    return descriptor
