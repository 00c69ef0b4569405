"""`geopurify doctor`: what is wrong with a node, seen from another process, within ten seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import GetState
from rclpy.node import Node

from geopurify_ros.ros.inputs.subscription import full_names, how_many
from geopurify_ros.ros.outputs import faults
from geopurify_ros.ros.outputs.faults import FAULT
from geopurify_ros.ros.shutdown_signals import ros_session

_NODE_S = 4.0  # for discovery; loopback answers within one
_REPORT_S = 4.0  # four reports of the node
_LEVELS = {b"\x00": "ok", b"\x01": "warn", b"\x02": "error", b"\x03": "stale"}
_HIDDEN = ("_", "launch_ros_")  # daemons and what belongs to the tools
_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


def examine(namespace: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Look at the node `mapping` in `namespace`; says and returns what was found.

    Returns:
        {"ok": bool, "node": name, "statuses": [{"name", "level", "message", "values"}, ...]}
    """
    name = f"/{namespace.strip('/')}/mapping".replace("//", "/")
    with ros_session():
        doctor = Node("geopurify_doctor")
        statuses = _Patient(doctor, name).statuses()
    for status in statuses:
        _say_status(status, say)
    is_ok = all(status["level"] == "ok" for status in statuses)
    say(f"{name} is {'well' if is_ok else 'not well'}")
    return {"ok": is_ok, "node": name, "statuses": statuses}


def _say_status(status: dict[str, Any], say: Callable[[str], None]) -> None:
    """A line for each fault, or one for all; figures where they help."""
    values = status["values"]
    sentences = [text for key, text in values.items() if key.startswith(FAULT)]
    for text in sentences or [status["message"]]:
        say(f"{status['level']:>5}  {status['name']}: {text}")
    if status["level"] != "ok" or status["name"].endswith("inputs"):
        for key, value in values.items():
            if not key.startswith(FAULT):
                say(f"           {key} = {value}")


class _Patient:
    """One node, looked at from outside."""

    def __init__(self, doctor: Node, name: str) -> None:
        self._doctor, self._name = doctor, name
        self._report: list[DiagnosticStatus] = []
        doctor.create_subscription(DiagnosticArray, "/diagnostics", self._on_report, 10)

    def statuses(self) -> list[dict[str, Any]]:
        """What the node says of itself, or why it says nothing."""
        if not self._wait(self._is_there, _NODE_S):
            return [_status("node", "error", self._absence())]
        self._wait(lambda: bool(self._report), _REPORT_S)
        twins = faults.twin_fault(self._name, how_many(self._doctor, self._name))
        if twins is not None:  # each of them reports, and perhaps that all is well
            return [_status("node", "error", f"{twins.subject}: {twins.sentence}")]
        if self._report:
            return [
                _status(s.name, _LEVELS.get(s.level, "stale"), s.message,
                        {v.key: v.value for v in s.values})
                for s in self._report
            ]
        return [_status("node", "error", self._silence())]

    def _on_report(self, msg: DiagnosticArray) -> None:
        mine = [status for status in msg.status if status.hardware_id == self._name]
        self._report = mine or self._report

    def _is_there(self) -> bool:
        return self._name in full_names(self._doctor)

    def _wait(self, is_done: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not is_done() and time.monotonic() < deadline:
            rclpy.spin_once(self._doctor, timeout_sec=0.1)
        return is_done()

    def _absence(self) -> str:
        own = self._doctor.get_fully_qualified_name()
        others = sorted({
            name for name in full_names(self._doctor)
            if name != own and not name.rpartition("/")[2].startswith(_HIDDEN)
        })
        alike = [name.removesuffix("/mapping") for name in others if name.endswith("/mapping")]
        advice = f"; look there: geopurify doctor --namespace {alike[0] or '/'}" if alike else ""
        images = sorted(
            topic for topic, kinds in self._doctor.get_topic_names_and_types()
            if set(kinds) & set(_IMAGES)
        )
        return (
            f"there is no node {self._name} in this domain (ROS_DOMAIN_ID); nodes here: "
            f"{', '.join(others) or 'none'}; image topics: {', '.join(images) or 'none'}{advice}"
        )

    def _silence(self) -> str:
        """The node is there and does not report: is it active?"""
        client = self._doctor.create_client(GetState, f"{self._name}/get_state")
        if self._wait(client.service_is_ready, 1.0):
            future = client.call_async(GetState.Request())
            if self._wait(future.done, 1.0):
                state = future.result().current_state.label
                if state != "active":
                    step = "activate" if state == "inactive" else "configure"
                    return (f"the node is {state}: run ros2 lifecycle set {self._name} {step}, "
                            "or set lifecycle.autostart to true")
        return "the node is there but does not report: it is loading its encoder, or hangs"


def _status(
    name: str, level: str, message: str, values: dict[str, str] | None = None
) -> dict[str, Any]:
    return {"name": name, "level": level, "message": message, "values": values or {}}
