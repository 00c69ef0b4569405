"""All parameters and their defaults, in one place.

ROS parameters, config/mapping.yaml and the command line are made from these dataclasses: a field
`radius_m` of group `depth` is the ROS parameter `depth.radius_m` and `--set depth.radius_m=1.0`.
Fields are bool, int, float or str only, because ROS parameters are; "off" is a value, never None.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml

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
) -> _T:
    """A dataclass field with what a user must know of it: meaning, range, choices."""
    metadata = {"about": about, "low": low, "high": high, "choices": choices}
    made: _T = field(default=default, metadata=metadata)
    return made


@dataclass(frozen=True)
class DepthConfig:
    """Which depth pixels are believed."""

    min_m: float = setting(0.2, "nearest depth used, metres", low=0.0, high=100.0)
    max_m: float = setting(5.0, "farthest depth used, metres", low=0.01, high=1000.0)
    edge_min_m: float = setting(
        0.03, "jump to a neighbouring pixel that makes an edge, metres", low=0.0, high=10.0
    )
    edge_relative: float = setting(
        0.04, "the same as a share of the depth; the larger counts", low=0.0, high=1.0
    )


@dataclass(frozen=True)
class KeyframeConfig:
    """Which frames are fused: the first, and those that moved or waited enough since the last."""

    min_translation_m: float = setting(0.08, "motion since the last keyframe", low=0.0, high=100.0)
    min_rotation_rad: float = setting(0.08, "turn since the last keyframe", low=0.0, high=3.15)
    max_interval_s: float = setting(
        2.0, "a standing camera still adds a keyframe after this time", low=0.0, high=1e6
    )


@dataclass(frozen=True)
class MapConfig:
    """The voxel map."""

    frame: str = setting("map", "frame of the map and of every output")
    voxel_size_m: float = setting(0.05, "edge of a voxel, metres", low=0.005, high=2.0)


@dataclass(frozen=True)
class FusionConfig:
    """How the views of a voxel become one feature (METHODS 1.8)."""

    mode: str = setting(
        "mean",
        "mean over all views, or consensus: the few that agree best (takes `views` times the "
        "memory of the map)",
        choices=("mean", "consensus"),
    )
    views: int = setting(4, "consensus: views kept per voxel", low=1, high=64)
    top: int = setting(3, "consensus: views that are averaged", low=1, high=64)
    sharpness: float = setting(
        1.0, "consensus: of the weights, 1 is the encoder's logit scale", low=0.0, high=100.0
    )
    vocabulary: str = setting(
        "", 'consensus: names whose best one must be agreed on, "chair, table"; empty: the mean'
    )


@dataclass(frozen=True)
class PurifyConfig:
    """GeoPurify's pooling (METHODS 1.9); the defaults belong to 5 cm voxels."""

    period_s: float = setting(
        5.0, "purify the map every so many seconds, 0: only when asked", low=0.0, high=86400.0
    )
    embedding: str = setting(
        "geometric",
        "what neighbours are compared by: the trained student, normal and colour, or nothing "
        "(no purification)",
        choices=("student", "geometric", "none"),
    )
    student: str = setting("", "checkpoint of the student; empty: the one that is shipped")
    neighbors: int = setting(32, "K, neighbours of a voxel", low=1, high=256)
    iterations: int = setting(40, "T, rounds of pooling", low=0, high=1000)
    affinity_scale: float = setting(20.0, "alpha, 0 is a plain blur", low=0.0, high=1000.0)
    max_entropy: float = setting(
        0.9999, "above this row entropy the result is a blur and not used", low=0.0, high=1.0
    )
    max_changed: float = setting(
        0.8, "if more than this share of the labels changes, it is not used", low=0.0, high=1.0
    )


@dataclass(frozen=True)
class QueryConfig:
    """How text becomes labels."""

    initial: str = setting("", 'prompts active from the start, "chair, table"')
    negatives: str = setting(
        "wall, floor, ceiling, object, background",
        "what a voxel may be instead of a prompt; those also asked for are left out",
    )
    threshold: float = setting(
        0.4, "lowest score of a labelled voxel, 0..1; below it is not there", low=0.0, high=1.0
    )
    min_voxels: int = setting(
        8, "a prompt with fewer labelled voxels is reported as not there", low=1, high=1000000
    )
    max_prompts: int = setting(64, "longest list of prompts accepted", low=1, high=1000)


@dataclass(frozen=True)
class EncoderConfig:
    """What turns images and text into comparable features."""

    name: str = setting(
        "builtin", "builtin, or open_clip:<model>:<pretrained tag or checkpoint path>"
    )
    device: str = setting("auto", "auto takes CUDA where there is one; cpu, cuda, cuda:1, ...")


@dataclass(frozen=True)
class PoseConfig:
    """Where camera poses come from."""

    source: str = setting(
        "tf",
        "tf: looked up at the image stamp; pose: PoseStamped of the optical frame; "
        "odom: Odometry, composed with TF from its child frame to the optical frame",
        choices=("tf", "pose", "odom"),
    )
    camera_frame: str = setting(
        "", "optical frame of the camera; empty: frame_id of the depth image"
    )
    timeout_s: float = setting(
        0.5, "how long a frame waits for its pose before it is dropped", low=0.0, high=60.0
    )


@dataclass(frozen=True)
class SyncConfig:
    """Pairing of colour and depth."""

    slop_s: float = setting(0.02, "largest difference of stamps in a pair", low=0.0, high=10.0)
    queue_size: int = setting(10, "messages kept per topic while waiting", low=1, high=1000)


@dataclass(frozen=True)
class QosConfig:
    """Quality of service of the image subscriptions."""

    reliability: str = setting(
        "auto",
        "auto: reliable when every publisher is, best effort otherwise",
        choices=("auto", "reliable", "best_effort"),
    )
    depth: int = setting(5, "queue length", low=1, high=1000)


@dataclass(frozen=True)
class Config:
    """Everything; the default of every parameter."""

    depth: DepthConfig = field(default_factory=DepthConfig)
    keyframe: KeyframeConfig = field(default_factory=KeyframeConfig)
    map: MapConfig = field(default_factory=MapConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    purify: PurifyConfig = field(default_factory=PurifyConfig)
    query: QueryConfig = field(default_factory=QueryConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    pose: PoseConfig = field(default_factory=PoseConfig)
    sync: SyncConfig = field(default_factory=SyncConfig)
    qos: QosConfig = field(default_factory=QosConfig)

    def __post_init__(self) -> None:
        """Check every value against its range, so no part need check again."""
        for name, spec in settings(self).items():
            _check(name, spec.value, spec)
        if self.depth.min_m >= self.depth.max_m:
            raise ConfigError(
                f"depth.min_m ({self.depth.min_m}) must be below depth.max_m ({self.depth.max_m})"
            )


@dataclass(frozen=True)
class Setting:
    """One parameter: its value and what a user must know of it."""

    value: Value
    about: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]


def settings(config: Config) -> dict[str, Setting]:
    """All parameters by dotted name, in the order of the dataclasses."""
    found: dict[str, Setting] = {}
    for group in dataclasses.fields(config):
        values = getattr(config, group.name)
        for item in dataclasses.fields(values):
            found[f"{group.name}.{item.name}"] = Setting(
                getattr(values, item.name), **item.metadata
            )
    return found


def _check(name: str, value: Value, spec: Setting) -> None:
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


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """`config` with the dotted names in `values` replaced; unknown names are ConfigErrors."""
    known = settings(config)
    groups: dict[str, dict[str, Value]] = {}
    for name, value in values.items():
        if name not in known:
            near = ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.0))
            raise ConfigError(f"there is no parameter {name}; the nearest are {near}")
        group, item = name.split(".")
        groups.setdefault(group, {})[item] = _convert(name, value, known[name].value)
    changed = {g: dataclasses.replace(getattr(config, g), **v) for g, v in groups.items()}
    return dataclasses.replace(config, **changed)


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
