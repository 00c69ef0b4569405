"""Layers (DESIGN section 2): who may import whom, read from the source."""

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


def files_of(layer):
    """Files of a sub-package, or the single module of that name."""
    folder = ROOT / layer
    found = sorted(folder.rglob("*.py")) if folder.is_dir() else [ROOT / f"{layer}.py"]
    assert found, layer
    return found


def layers():
    return sorted({p.relative_to(ROOT).parts[0].removesuffix(".py") for p in ROOT.rglob("*.py")}
                  - {*GENERATED, "__init__"})


def imports_of(path):
    """Dotted names of everything a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            # `from geopurify_ros.core import fusion` imports geopurify_ros.core.mapping.fusion
            yield from (f"{node.module}.{name.name}" for name in node.names)


def within(name, modules):
    return any(name == m or name.startswith(m + ".") for m in modules)


def imports_of_layer(layer):
    return [(path.name, name) for path in files_of(layer) for name in imports_of(path)]


def test_the_reader_of_imports_sees_them(tmp_path):
    """The tests below would pass on a reader that finds nothing."""
    path = tmp_path / "module.py"
    path.write_text("import a.b as c\nfrom d import e\ndef f():\n    import g, h\n")
    assert list(imports_of(path)) == ["a.b", "d.e", "g", "h"]
    assert within("rclpy.node", ROS_MODULES)
    assert not within("rclpyx", ROS_MODULES)
    assert {"core", "ros", "cli"} <= set(layers())


def test_core_imports_torch_numpy_and_nothing_above_it():
    own = [f"{PACKAGE}.{name}" for name in ("core", "config", "config_fields", "errors")]
    allowed = (*own, "torch", "numpy", *sys.stdlib_module_names)
    assert [found for found in imports_of_layer("core") if not within(found[1], allowed)] == []


@pytest.mark.parametrize("layer", [name for name in layers() if name != "ros"])
def test_only_the_ros_layer_imports_ros(layer):
    found = [(file, name) for file, name in imports_of_layer(layer)
             if within(name, ROS_MODULES) or name.split(".")[0].endswith("_msgs")]
    assert found == []


LOWER = ["core", "data", "encoders", "evaluate", "train", "config", "errors"]


@pytest.mark.parametrize("layer", LOWER)
def test_lower_layers_do_not_know_the_ones_above(layer):
    above = [f"{PACKAGE}.{name}" for name in ("ros", "cli")]
    assert [found for found in imports_of_layer(layer) if within(found[1], above)] == []


def test_errors_import_nothing_of_the_package_and_config_only_errors():
    def own(layer):
        return {".".join(name.split(".")[:2]) for _, name in imports_of_layer(layer)
                if within(name, [PACKAGE])}

    assert own("errors") == set()
    assert own("config") == {f"{PACKAGE}.errors", f"{PACKAGE}.config_fields"}
    assert own("config_fields") == {f"{PACKAGE}.errors"}


@pytest.mark.parametrize("module", [PACKAGE, f"{PACKAGE}.errors", f"{PACKAGE}.cli"])
def test_importing_is_light(module):
    """Every user of the messages runs __init__; `geopurify --help` must not wait for torch."""
    heavy = ("torch", "numpy", "rclpy", "PIL", "safetensors")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
