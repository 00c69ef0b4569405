"""Layers and rooms: who may import whom, read from the source. Arrows point down only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import geopurify_ros

PACKAGE = "geopurify_ros"
ROOT = Path(geopurify_ros.__file__).parent
GENERATED = ("msg", "srv")
ROS_MODULES = ("rclpy", "rcl_interfaces", "tf2", "tf2_ros", "launch", "launch_ros",
               "message_filters", "sensor_msgs_py", "ament_index_python", "std_srvs",
               f"{PACKAGE}.msg", f"{PACKAGE}.srv")

# What stands in one line does not know each other, and everything may use the lines above it.
GROUND = ("errors", "signals", "threads", "progress")
LAYERS = (
    GROUND,
    ("config_fields",), ("config",), ("cameras",), ("config_file",),
    ("core",),
    ("data", "encoders"),
    ("evaluate",),
    ("offline",),
    ("train", "ros"),
    ("cli",),
)
# The same within a layer: rooms, and files that stand beside them.
ROOMS = {
    "core": (("stopwatch", "reports", "pauses"), ("mapping",), ("purification",), ("answers",),
             ("pipeline",)),
    "data": (("output_files", "render", "synthetic_render", "messages"),
             ("tensor_file", "export", "synthetic", "map_file", "readers"), ("student_file",)),
    "train": (("folder_lock", "curves"), ("trainer",), ("rooms",), ("text", "encoder", "students"),
              ("studies",)),
    "ros": (("report", "shutdown_signals", "process_memory", "device_loss", "background",
             "refresh"),
            ("params", "worker_listener", "frame_queue", "model_loading", "guarded",
             "late_vocabulary"),
            ("purifier",), ("purifications",), ("worker",),
            ("inputs",), ("outputs",), ("services",), ("node",), ("main",), ("tools",)),
}


def modules():
    """Every file of the package but the generated ones, as "core.mapping.frame"."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] not in GENERATED:
            yield ".".join(parts).removesuffix(".__init__"), path


def imports_of(path):
    """Dotted names of everything a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            # `from geopurify_ros.core import fusion` imports geopurify_ros.core.fusion
            yield from (f"{node.module}.{name.name}" for name in node.names)


def own_imports_of(path):
    """Names below the package: "core.mapping.frame.RgbdFrame"."""
    for name in imports_of(path):
        if (name.startswith(f"{PACKAGE}.")
                and name.split(".")[1] not in (*GENERATED, "__version__")):
            yield name.removeprefix(f"{PACKAGE}.")


def within(name, roots):
    return any(name == m or name.startswith(m + ".") for m in roots)


def arrows(depth, below=""):
    """(file, its room, the room of what it imports), rooms as the part at `depth` of a name."""
    for module, path in modules():
        if not module.startswith(below) or module == below.rstrip("."):
            continue
        for name in own_imports_of(path):
            if name.startswith(below) and len(name.split(".")) > depth:
                yield module, module.split(".")[depth], name.split(".")[depth]


def upward(found, order):
    """Arrows that do not point to a lower line of `order`, or stay at home."""
    floor = {room: number for number, line in enumerate(order) for room in line}
    return [(module, target) for module, room, target in found
            if room != target and floor[target] >= floor[room]]


def test_the_reader_of_imports_sees_them(tmp_path):
    """The tests below would pass on a reader that finds nothing."""
    path = tmp_path / "module.py"
    path.write_text("import a.b as c\nfrom d import e\ndef f():\n    import g, h\n")
    assert list(imports_of(path)) == ["a.b", "d.e", "g", "h"]
    assert within("rclpy.node", ROS_MODULES)
    assert not within("rclpyx", ROS_MODULES)
    order = (("low",), ("high", "beside"))
    assert upward([("low.a", "low", "high")], order) == [("low.a", "high")]
    assert upward([("high.a", "high", "beside")], order) == [("high.a", "beside")]
    assert upward([("high.a", "high", "low"), ("low.a", "low", "low")], order) == []
    assert ("core.pipeline", "core", "config") in set(arrows(0))
    assert ("core.purification.gate", "purification", "purification") in set(arrows(1, "core."))


def test_layers_know_only_the_layers_below():
    named = {room for line in LAYERS for room in line}
    assert {module.split(".")[0] for module, _ in modules()} - {"__init__"} == named
    # the package's face lends names of the layers when they are asked for
    assert upward([a for a in arrows(0) if a[0] != "__init__"], LAYERS) == []


@pytest.mark.parametrize("layer", ROOMS)
def test_rooms_know_only_the_rooms_below(layer):
    """In core the order is the paper's: mapping, purification, answers."""
    found = list(arrows(1, f"{layer}."))
    named = {room for line in ROOMS[layer] for room in line}
    assert {module.split(".")[1] for module, _ in modules() if module.startswith(f"{layer}.")
            } <= named
    assert upward(found, ROOMS[layer]) == []


def test_core_imports_torch_numpy_and_nothing_above_it():
    own = [f"{PACKAGE}.{name}" for name in ("core", "config", "config_fields", "errors")]
    allowed = (*own, "torch", "numpy", *sys.stdlib_module_names)
    assert [(module, name) for module, path in modules() if within(module, ["core"])
            for name in imports_of(path) if not within(name, allowed)] == []


def test_only_the_ros_layer_imports_ros():
    assert [(module, name) for module, path in modules() if not within(module, ["ros"])
            for name in imports_of(path)
            if within(name, ROS_MODULES) or name.split(".")[0].endswith("_msgs")] == []


def test_errors_import_nothing_of_the_package_and_config_only_errors():
    own = {module: {name.split(".")[0] for name in own_imports_of(path)}
           for module, path in modules()}
    assert own["errors"] == set()
    assert own["config"] == {"errors", "config_fields"}
    assert own["config_fields"] == {"errors"}


@pytest.mark.parametrize("folder", sorted({path.parent for _, path in modules()}))
def test_folders_of_more_than_five_modules_say_what_lives_there(folder):
    others = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
    if len(others) > 5:
        lines = (folder / "README.md").read_text().splitlines()
        assert 3 <= len(lines) <= 15


@pytest.mark.parametrize("module", [PACKAGE, f"{PACKAGE}.errors", f"{PACKAGE}.cli"])
def test_importing_is_light(module):
    """Every user of the messages runs __init__; `geopurify --help` must not wait for torch."""
    heavy = ("torch", "numpy", "rclpy", "PIL", "safetensors")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
