"""ROS parameters, made from the configuration dataclasses."""

from __future__ import annotations

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from geopurify_ros.config import Config, Setting, settings, with_values


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


def _descriptor(spec: Setting) -> ParameterDescriptor:
    about = spec.about + (f" ({' | '.join(spec.choices)})" if spec.choices else "")
    descriptor = ParameterDescriptor(description=about, read_only=True)
    if isinstance(spec.value, float) and spec.low is not None and spec.high is not None:
        bounds = FloatingPointRange(from_value=float(spec.low), to_value=float(spec.high))
        descriptor.floating_point_range = [bounds]
    elif type(spec.value) is int and spec.low is not None and spec.high is not None:
        limits = IntegerRange(from_value=int(spec.low), to_value=int(spec.high))
        descriptor.integer_range = [limits]
    return descriptor
