"""What is wrong, in one sentence with the guilty part and what to do; knows no ROS calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from geopurify_ros.ros.inputs.subscription import Publisher, TopicView

OK, WARN, ERROR = 0, 1, 2
FAULT = "fault."  # begin of the keys of single faults
GRACE_S = 3.0  # a topic may be silent so long before it is a fault
_ENOUGH = 20  # messages that make a rate
_OTHER_CLOCK_S = 300.0  # stamps further apart are of two clocks
_PROFILE = "share/geopurify_ros/config/fastdds_shm.xml"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        subject: topic or part.
        kind: names the fault where the sentence has numbers.
        is_told: said in the log already, at the moment it happened.
    """

    level: int
    subject: str
    kind: str
    sentence: str
    is_told: bool = False


@dataclass
class Status:
    """One entry of /diagnostics."""

    part: str
    summary: str = ""
    faults: list[Fault] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)

    @property
    def level(self) -> int:
        """That of the worst fault."""
        return max((fault.level for fault in self.faults), default=OK)

    @property
    def message(self) -> str:
        """The faults, or the summary where there is none."""
        return "; ".join(f"{f.subject}: {f.sentence}" for f in self.faults) or self.summary


def fault_values(status: Status) -> dict[str, str]:
    """Each fault by itself, as `geopurify doctor` prints them."""
    return {
        f"{FAULT}{k}": f"{f.subject}: {f.sentence}" for k, f in enumerate(status.faults, start=1)
    }


def topic_fault(view: TopicView, published: Mapping[str, list[str]]) -> Fault | None:
    """Why nothing comes on a topic; `published` has the types of all topics with publishers."""
    if view.received and ("infos" in view.name or view.silent_s <= GRACE_S):
        return _mixed(view)
    if view.silent_s <= GRACE_S:
        return None
    never = ERROR if not view.received else WARN
    right = [p for p in view.publishers if p.type == view.type]
    wrong = [p for p in view.publishers if p.type != view.type]
    if wrong and not right:
        return Fault(ERROR, view.topic, "type", (
            f"{wrong[0].node} publishes {wrong[0].type} on it, but we read {view.type}: "
            + _type_advice(view, wrong[0].type)
        ))
    if not right:
        return Fault(never, view.topic, "unpublished", (
            f"nobody publishes the {view.name}{' any more' if view.received else ''} "
            f"({view.type}); {_candidates(view, published)}"
        ))
    unheard = [p for p in right if not p.is_reliable]
    if view.is_reliable and unheard:
        return Fault(ERROR, view.topic, "qos", (
            f"{unheard[0].node} publishes best effort, which our reliable subscription never "
            f"hears: set {view.parameter}_reliability to auto or best_effort"
        ))
    since = f"silent for {view.silent_s:.0f} s" if view.received else "nothing has arrived yet"
    return Fault(never, view.topic, "silent", (
        f"{right[0].node} is there ({_qos(right[0].is_reliable)}, we ask for "
        f"{_qos(view.is_reliable)}), but {since}: does the camera send?"
    ))


def _type_advice(view: TopicView, found: str) -> str:
    if found.endswith("CompressedImage") and view.type.endswith("/Image"):
        return f"set camera.{view.argument}_transport to compressed and name the raw topic"
    return f"give another topic with {view.argument}:=TOPIC"


def _mixed(view: TopicView) -> Fault | None:
    right = [p.node for p in view.publishers if p.type == view.type]
    if len(right) < 2:
        return None
    return Fault(WARN, view.topic, "two publishers", (
        f"{len(right)} publishers ({', '.join(sorted(right))}), their messages mix: stop all but "
        "one"
    ))


def _candidates(view: TopicView, published: Mapping[str, list[str]]) -> str:
    packed = sorted(t for t in published if t.startswith(f"{view.topic}/compressed"))
    packed = packed[::-1] if view.argument == "depth" else packed  # compressedDepth first
    if packed and view.type.endswith("/Image"):
        is_png = view.argument == "depth" and packed[0].endswith("/compressed")
        kind = "png" if is_png else "compressed"
        return f"there is {packed[0]}: set camera.{view.argument}_transport to {kind}"
    found = sorted(t for t, kinds in published.items() if view.type in kinds and t != view.topic)
    likely = [t for t in found if view.argument.split("_")[0] in t] or found
    if not likely:
        return "no other topic of that type exists: is the camera driver running, in this domain?"
    return f"topics of that type: {', '.join(likely[:5])}; choose with {view.argument}:=TOPIC"


def _qos(is_reliable: bool) -> str:
    return "reliable" if is_reliable else "best effort"


def transport_fault(
    view: TopicView, images: int, infos: int, is_own_info: bool = True
) -> Fault | None:
    """Images lost on the way: camera infos of the same camera are small and arrive.

    `images` and `infos` were received in the same time. Depth may be slower than the camera infos
    of colour (not `is_own_info`) by intention: then its stamps are even.
    """
    if view.is_reliable or not view.publishers or infos < _ENOUGH or images > 0.8 * infos:
        return None
    if view.is_even and not is_own_info:
        return None
    return Fault(WARN, view.topic, "lost", (
        f"only {images} of {infos} images arrive: the publisher's transport loses large "
        "best-effort messages; start the camera driver with FASTDDS_DEFAULT_PROFILES_FILE="
        f"<prefix>/{_PROFILE}, or let it publish reliable"
    ))


def publisher_names(publishers: Iterable[Publisher], expected_type: str = "") -> str:
    """Nodes with their reliability, and with their type where it is not the expected one."""
    return ", ".join(
        f"{p.node} ({_qos(p.is_reliable)}"
        f"{', ' + p.type if expected_type and p.type != expected_type else ''})"
        for p in publishers
    ) or "none"


def tf_fault(topic: str, publishers: Sequence[Publisher]) -> Fault | None:
    """Transforms that we cannot hear; called where one is missing."""
    if not publishers:
        return Fault(ERROR, topic, "unpublished", (
            "nobody publishes it: start what localises the robot (SLAM, odometry, "
            "robot_state_publisher), in this domain, or remap it to the topic that has the "
            "transforms"
        ))
    unheard = [p.node for p in publishers if not p.is_reliable]
    if not unheard:
        return None
    return Fault(ERROR, topic, "qos", (
        f"{', '.join(unheard)} publishes best effort, which a reliable subscription, as TF has "
        "it, never hears: let it publish reliable"
    ))


def refusal_fault(refused: int, received: int, sentence: str) -> Fault | None:
    """Images of late that do not fit; the sentence of the last one begins with its topic."""
    if not refused:
        return None
    topic, colon, reason = sentence.partition(": ")
    if not colon:  # of the frame as a whole
        topic, reason = "frames", sentence
    return Fault(ERROR if refused >= received else WARN, topic, "refused", (
        f"{reason} ({refused} of the last {max(refused, received)} images were refused)"
    ), is_told=True)


def topic_values(view: TopicView, now_ns: int) -> dict[str, str]:
    """What a user needs to compare: publishers, their QoS and ours, the last stamp and its age."""
    values = {
        "publishers": publisher_names(view.publishers, view.type),
        "ours": _qos(view.is_reliable),
        "received": str(view.received),
        "silent_s": f"{view.silent_s:.1f}",
    }
    if view.last_stamp_ns is not None:
        values["last_stamp"] = f"{view.last_stamp_ns * 1e-9:.3f}"
        values["last_stamp_age_s"] = f"{(now_ns - view.last_stamp_ns) * 1e-9:.3f}"
    return {f"{view.topic}.{key}": value for key, value in values.items()}


def sync_fault(
    rgb: TopicView, depth: TopicView, pairs: int, lately: tuple[int, int]
) -> Fault | None:
    """Of the slower of both streams, half of the images of late found no partner.

    `lately`: colour and depth images that came in the time of the `pairs`.
    """
    slower = min(lately)
    if slower < _ENOUGH // 4 or pairs >= 0.5 * slower:
        return None
    if not depth.received or depth.silent_s > GRACE_S:
        return None  # the fault of depth itself says more
    stamps = (rgb.last_stamp_ns, depth.last_stamp_ns)
    for view in (rgb, depth):
        if view.last_stamp_ns == 0 and any(stamps):
            return Fault(WARN, view.topic, "unpaired", (
                "the stamps of these images are zero, those of their partners are not: set the "
                "stamp in the driver"
            ))
    apart, advice = "", "raise sync.slop_s or synchronise the cameras"
    if None not in stamps:
        apart_s = abs(stamps[0] - stamps[1]) * 1e-9
        apart = f", their last stamps are {apart_s:.3f} s apart"
        if apart_s > _OTHER_CLOCK_S:
            advice = "they are of different clocks: let one clock stamp both"
    return Fault(WARN, rgb.topic, "unpaired", (
        f"{slower - max(pairs, 0)} of {slower} images found no partner on {depth.topic}{apart}: "
        f"{advice}"
    ))


def stamp_fault(topic: str, unstamped: int) -> Fault | None:
    """Images of late without a time."""
    if not unstamped:
        return None
    return Fault(ERROR, topic, "no stamp", (
        f"the stamps of {unstamped} images were zero: the driver does not stamp them, and without "
        "a time there is no pose; set the header's stamp in the driver"
    ), is_told=True)


def busy_fault(busy: int, fused: int, frame_ms: float) -> Fault | None:
    """Half of the keyframes of late came while too many others waited to be fused."""
    if busy < _ENOUGH // 4 or busy < fused:
        return None
    return Fault(WARN, "map", "busy", (
        f"{busy} of {busy + fused} keyframes of late were left out since earlier ones were still "
        f"being fused ({frame_ms:.0f} ms each): raise keyframe.min_translation_m and "
        "keyframe.min_rotation_rad, send smaller images, or use a faster encoder"
    ))


def twin_fault(name: str, alike: int) -> Fault | None:
    """Other nodes have our name: two launches in one namespace."""
    if alike < 2:
        return None
    return Fault(ERROR, name, "twins", (
        f"{alike} nodes have this name: all of them map, and any of them answers; stop all but "
        "one, or start them in different namespaces (namespace:=NAME)"
    ))


def drop_fault(received: int, fused: int, dropped: dict[str, int]) -> Fault | None:
    """Images arrive and none is ever fused; without a partner they are not judged here."""
    paired = received - dropped.get("unpaired", 0)
    if fused or paired < _ENOUGH // 4 or not set(dropped) - {"unpaired"}:
        return None
    reasons = ", ".join(f"{name} {n}" for name, n in sorted(dropped.items(), key=lambda d: -d[1]))
    return Fault(ERROR, "map", "nothing fused", (
        f"of {received} images none was fused; dropped: {reasons}"
    ))
