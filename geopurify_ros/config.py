"""All parameters and their defaults, in one place.

ROS parameters, config/mapping.yaml and the command line are made from these dataclasses: a field
`radius_m` of group `depth` is the ROS parameter `depth.radius_m` and `--set depth.radius_m=1.0`.
Fields are bool, int, float or str only, because ROS parameters are; "off" is a value, never None.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from geopurify_ros.config_fields import Setting, Value, check, setting, settings, with_values
from geopurify_ros.errors import ConfigError

__all__ = ["Config", "Setting", "Value", "settings", "with_values"]


@dataclass(frozen=True)
class DepthConfig:
    """Which depth pixels are believed."""

    min_m: float = setting(0.2, "nearest depth used, metres", low=0.0, high=100.0, live=True)
    max_m: float = setting(
        5.0, "farthest depth used, metres", low=0.01, high=1000.0, live=True
    )
    edge_min_m: float = setting(
        0.03, "jump to a neighbouring pixel that is an edge, metres", low=0.0, high=10.0, live=True
    )
    edge_relative: float = setting(
        0.04, "the same as a share of the depth; the larger counts", low=0.0, high=1.0, live=True
    )


@dataclass(frozen=True)
class KeyframeConfig:
    """Which frames are fused: the first, and those that moved or waited enough since the last."""

    min_translation_m: float = setting(
        0.08, "motion since the last keyframe", low=0.0, high=100.0, live=True
    )
    min_rotation_rad: float = setting(
        0.08, "turn since the last keyframe", low=0.0, high=3.15, live=True
    )
    max_interval_s: float = setting(
        2.0, "a standing camera adds a keyframe after this time", low=0.0, high=1e6, live=True
    )


@dataclass(frozen=True)
class MapConfig:
    """The voxel map."""

    frame: str = setting("map", "frame of the map and of every output")
    voxel_size_m: float = setting(0.05, "edge of a voxel, metres", low=0.005, high=2.0)
    folder: str = setting(
        "",
        "where ~/save_map writes and ~/load_map reads, and nowhere else; empty: geopurify_maps in "
        "$ROS_HOME or ~/.ros",
    )


@dataclass(frozen=True)
class FusionConfig:
    """How the views of a voxel become one feature (METHODS 1.8)."""

    mode: str = setting(
        "mean",
        "mean over all views, or consensus: the few that agree best (takes `views` times the "
        "memory of the map; a save stops mapping for as long as a query)",
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
        5.0, "purify so often, seconds; 0: only when asked", low=0.0, high=86400.0, live=True
    )
    full_period_s: float = setting(
        300.0, "purify so often all of the map and not only what changed, seconds; 0: only where "
        "most of it changed", low=0.0, high=1e6, live=True,
    )
    max_share: float = setting(
        0.5, "share of the processors that purification may take", low=0.01, high=1.0, live=True
    )
    embedding: str = setting(
        "student",
        "what neighbours are compared by: the trained student, normal and colour, or nothing "
        "(no purification)",
        choices=("student", "geometric", "none"),
    )
    student: str = setting("", "checkpoint of the student; empty: the one that is shipped")
    neighbors: int = setting(32, "K, neighbours of a voxel", low=1, high=256)
    iterations: int = setting(100, "T, rounds of pooling", low=0, high=1000)
    affinity_scale: float = setting(40.0, "alpha, 0 is a plain blur", low=0.0, high=1000.0)
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
        "auto",
        "what a voxel may be instead of a prompt: auto takes all that the encoder can name (see "
        'docs/answers.md), or a list as "wall, floor"; those also asked for are left out',
        live=True,
    )
    threshold: float = setting(
        0.2, "lowest score of a label; with auto negatives a probability", low=0.0, high=1.0,
        live=True,
    )
    min_voxels: int = setting(
        8, "a thing needs so many voxels in one connected piece; with auto negatives a fifth of "
        "what its kind usually shows, where that is more", low=1, high=1000000, live=True,
    )
    max_prompts: int = setting(
        64, "longest list of prompts accepted", low=1, high=1000, live=True
    )


@dataclass(frozen=True)
class EncoderConfig:
    """What turns images and text into comparable features."""

    name: str = setting(
        "builtin", "builtin, or open_clip:<model>:<pretrained tag or checkpoint path>"
    )
    device: str = setting("auto", "auto takes CUDA where there is one; cpu, cuda, cuda:1, ...")
    dtype: str = setting(
        "auto",
        "number type of the image tower; auto takes the faster one of this machine; on a CPU "
        "float16, and bfloat16 without instructions for it, take 2 to 20 times as long as float32",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    use_depth: bool = setting(
        True, "builtin tells things by their shape too; false: by the colour image alone"
    )


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
        "",
        "optical frame of the colour camera; empty: frame_id of the depth image, or of the colour "
        "image where depth is not registered",
    )
    timeout_s: float = setting(
        2.0, "how long a frame waits for its pose at most, seconds", low=0.0, high=60.0, live=True
    )


@dataclass(frozen=True)
class SyncConfig:
    """Pairing of colour and depth."""

    slop_s: float = setting(0.02, "largest difference of stamps in a pair", low=0.0, high=10.0)
    queue_size: int = setting(10, "messages kept per topic while waiting", low=1, high=1000)


@dataclass(frozen=True)
class CameraConfig:
    """How the images come: the presets of launch argument `camera` set these."""

    rgb_transport: str = setting(
        "raw",
        "raw: sensor_msgs/Image; compressed: JPEG or PNG on <colour topic>/compressed",
        choices=("raw", "compressed"),
    )
    depth_transport: str = setting(
        "raw",
        "raw: sensor_msgs/Image; compressed: PNG on <depth topic>/compressedDepth; png: 16-bit "
        "PNG on <depth topic>/compressed",
        choices=("raw", "compressed", "png"),
    )
    depth_unit_m: float = setting(
        0.0,
        "metres per unit of the depth images, 0.0002 for TUM's 1/5000; 0: millimetres of "
        "integers, metres of floats",
        low=0.0, high=1.0,
    )
    depth_registered: bool = setting(
        True,
        "true: depth lies on the pixels of colour; false: it has its own camera info "
        "(depth/camera_info) and TF to the colour camera, and the node registers it",
    )
    rectified: bool = setting(
        False,
        "true: the images are undistorted already, as image_proc leaves them; the projection P "
        "of their camera info counts, not K and D",
    )


_RELIABILITY = ("auto", "reliable", "best_effort")


@dataclass(frozen=True)
class QosConfig:
    """Quality of service of the inputs; auto is reliable when every publisher is."""

    rgb_reliability: str = setting("auto", "of the colour images", choices=_RELIABILITY)
    rgb_queue: int = setting(5, "queue length of the colour images", low=1, high=1000)
    depth_reliability: str = setting("auto", "of the depth images", choices=_RELIABILITY)
    depth_queue: int = setting(5, "queue length of the depth images", low=1, high=1000)
    info_reliability: str = setting("auto", "of the camera infos", choices=_RELIABILITY)
    info_queue: int = setting(5, "queue length of the camera infos", low=1, high=1000)
    pose_reliability: str = setting("auto", "of pose or odom", choices=_RELIABILITY)
    pose_queue: int = setting(50, "queue length of pose or odom", low=1, high=1000)


@dataclass(frozen=True)
class OutputConfig:
    """How much is published."""

    max_rate_hz: float = setting(
        2.0, "clouds of a growing map are published at most so often; answers to a new query and "
        "after a purification at once; 0: no limit", low=0.0, high=1000.0, live=True,
    )
    max_points: int = setting(
        0, "a cloud has at most so many points, the nearest to the camera; query_result says how "
        "many; 0: all", low=0, high=1000000000, live=True,
    )


@dataclass(frozen=True)
class TimeConfig:
    """Time that jumps, as with a looping bag; use_sim_time is ROS's own parameter."""

    on_jump_back: str = setting(
        "continue",
        "what happens to the map when stamps or the clock jump back; either way it is said "
        "aloud, and poses of before are forgotten",
        choices=("continue", "reset"),
        live=True,
    )


@dataclass(frozen=True)
class LifecycleConfig:
    """The managed node."""

    autostart: bool = setting(
        True, "configure and activate at the start; false: wait for ros2 lifecycle set",
        at_start=True,
    )


@dataclass(frozen=True)
class Config:
    """Everything; the default of every parameter."""

    depth: DepthConfig = field(default_factory=DepthConfig)
    keyframe: KeyframeConfig = field(default_factory=KeyframeConfig)
    map: MapConfig = field(default_factory=MapConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    purify: PurifyConfig = field(default_factory=PurifyConfig)
    query: QueryConfig = field(default_factory=QueryConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    pose: PoseConfig = field(default_factory=PoseConfig)
    sync: SyncConfig = field(default_factory=SyncConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    qos: QosConfig = field(default_factory=QosConfig)
    time: TimeConfig = field(default_factory=TimeConfig)
    lifecycle: LifecycleConfig = field(default_factory=LifecycleConfig)

    def __post_init__(self) -> None:
        """Check every value against its range, so no part need check again."""
        for name, spec in settings(self).items():
            check(name, spec.value, spec)
        if self.depth.min_m >= self.depth.max_m:
            raise ConfigError(
                f"depth.min_m ({self.depth.min_m}) must be below depth.max_m ({self.depth.max_m})"
            )
