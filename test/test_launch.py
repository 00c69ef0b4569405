"""What the launch file starts, over a stand-in for `launch` that keeps what it is given.

The real one has no wheels; with it, test_packaging.py reads the same file.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import ament_index_python.packages as ament
import pytest

ROOT = Path(__file__).parents[1]


class Action:
    """Any action: its arguments as attributes."""

    def __init__(self, *args, **kwargs):
        self.args = args
        vars(self).update(kwargs)


def action(name):
    return type(name, (Action,), {})


@pytest.fixture
def launch_file(monkeypatch):
    names = ("DeclareLaunchArgument", "ExecuteProcess", "LogInfo", "OpaqueFunction",
             "RegisterEventHandler", "Shutdown", "LaunchDescription", "OnProcessExit", "Node")
    kinds = {name: action(name) for name in names}

    class LaunchConfiguration:
        def __init__(self, name):
            self.name = name

        def perform(self, context):
            return context.values[self.name]

    for module in ("launch", "launch.actions", "launch.event_handlers", "launch.substitutions",
                   "launch_ros", "launch_ros.actions"):
        made = ModuleType(module)
        vars(made).update(kinds, LaunchConfiguration=LaunchConfiguration)
        monkeypatch.setitem(sys.modules, module, made)
    monkeypatch.setattr(ament, "get_package_share_directory", lambda _: str(ROOT))
    spec = importlib.util.spec_from_file_location("mapping_launch",
                                                  ROOT / "launch/mapping.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(launch_file, **given):
    """Names and actions of a launch with these arguments."""
    declared = launch_file.generate_launch_description().args[0]
    values = {a.args[0]: a.default_value for a in declared if a.args}
    context = SimpleNamespace(values={**values, **given}, is_shutdown=False)
    return {type(a).__name__: a for a in launch_file.start(context)}, context


def test_by_default_the_node_alone_is_started(launch_file):
    actions, _ = started(launch_file)
    assert list(actions) == ["Node"]
    assert actions["Node"].executable == "mapping"
    assert actions["Node"].namespace == "geopurify"


def test_without_rviz_the_node_is_started_with_a_word(launch_file, monkeypatch):
    def missing(name):
        raise ament.PackageNotFoundError(name)

    monkeypatch.setattr(launch_file, "get_package_prefix", missing)
    actions, _ = started(launch_file, rviz="true")
    assert list(actions) == ["Node", "LogInfo"]
    assert "rviz2 is not installed" in actions["LogInfo"].msg
    monkeypatch.setattr(launch_file, "get_package_prefix", lambda _: "/opt/ros")
    actions = launch_file.start(SimpleNamespace(values=started(launch_file)[1].values
                                                | {"rviz": "true"}, is_shutdown=False))
    assert [a.package for a in actions] == ["geopurify_ros", "rviz2"]


@pytest.mark.parametrize(("argument", "what"), [("params_file", "parameter file"),
                                                ("bag", "recording")])
def test_a_file_that_is_not_there_is_an_error(launch_file, argument, what):
    with pytest.raises(RuntimeError, match=f"{argument}:=/nowhere: there is no such {what}"):
        started(launch_file, **{argument: "/nowhere"})


@pytest.mark.parametrize(("code", "stops"), [(0, False), (2, True)])
def test_a_player_that_fails_ends_everything(launch_file, tmp_path, code, stops):
    actions, context = started(launch_file, bag=str(tmp_path))
    handler = actions["RegisterEventHandler"].args[0]
    assert handler.target_action is actions["ExecuteProcess"]
    then = [type(a).__name__ for a in handler.on_exit(SimpleNamespace(returncode=code), context)]
    assert then == (["LogInfo", "Shutdown"] if stops else ["LogInfo"])
    context.is_shutdown = True  # Ctrl-C: nobody needs to hear that the player ended
    assert handler.on_exit(SimpleNamespace(returncode=code), context) == []
