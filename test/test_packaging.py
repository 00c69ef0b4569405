"""One source, two builds: colcon and pip install the same interfaces and the same program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_share_directory

import geopurify_ros

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PREFIX = Path(sys.prefix)
# pip installs into the environment, colcon beside it; on a ROS machine messages lie elsewhere
os.environ.setdefault("AMENT_PREFIX_PATH", str(PREFIX))
INTERFACES = [
    "msg/PromptResult", "msg/QueryResult", "msg/SemanticQuery", "srv/MapFile", "srv/Query",
]
# Upstream's tf2_msgs/TFMessage, so that /tf of a real ROS 2 is understood.
TF_MESSAGE_HASH = "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"


def type_hash(share: Path, interface: str) -> str:
    """The type hash that DDS compares before it connects two ends."""
    description = json.loads((share / f"{interface}.json").read_text())
    own = description["type_hashes"]
    return next(h["hash_string"] for h in own if h["type_name"].endswith(interface))


def share_of(package: str) -> Path:
    """Where the package lies that this Python imports."""
    return Path(get_package_share_directory(package))


def test_version_is_that_of_package_xml():
    assert geopurify_ros.__version__ == ET.parse(ROOT / "package.xml").findtext("version")


@pytest.fixture(scope="module")
def colcon_install(tmp_path_factory):
    """The package built by colcon, as on a ROS 2 machine, over the same message packages."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "src").mkdir()
    (folder / "src/geopurify_ros").symlink_to(ROOT)
    environment = {
        **os.environ,
        "PATH": f"{PREFIX}/bin:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "colcon", "build", "--event-handlers", "console_direct-"],
        cwd=folder, env=environment, capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "install" / "geopurify_ros"


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_build_by_colcon_has_the_type_hashes_of_what_is_installed(colcon_install, interface):
    built = type_hash(colcon_install / "share/geopurify_ros", interface)
    assert built.startswith("RIHS01_")
    assert built == type_hash(share_of("geopurify_ros"), interface)


def test_own_tf_messages_are_upstreams():
    assert type_hash(share_of("tf2_msgs"), "msg/TFMessage") == TF_MESSAGE_HASH


def test_colcon_installs_programs_launch_and_config(colcon_install):
    for path in (
        "lib/geopurify_ros/mapping",
        "lib/geopurify_ros/geopurify",
        "share/geopurify_ros/launch/mapping.launch.py",
        "share/geopurify_ros/config/mapping.yaml",
        "share/geopurify_ros/config/mapping.rviz",
        "share/geopurify_ros/config/fastdds_shm.xml",
        "share/geopurify_ros/package.xml",
    ):
        assert (colcon_install / path).is_file(), path


def test_colcon_installs_our_modules_beside_the_generated_ones(colcon_install):
    (package,) = colcon_install.glob("lib/python3.*/site-packages/geopurify_ros")
    assert "__version__" in (package / "__init__.py").read_text()
    assert (package / "core/mapping/fusion.py").is_file()
    assert (package / "msg/__init__.py").is_file()
    assert (package / "assets/sample_room/models.txt").is_file()


def test_launch_file_describes_its_arguments():
    launch = pytest.importorskip("launch.actions", reason="needs a ROS 2 installation with launch",
                                 exc_type=ImportError)
    import importlib.util

    spec = importlib.util.spec_from_file_location("mapping", ROOT / "launch/mapping.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    declared = [e for e in module.generate_launch_description().entities
                if isinstance(e, launch.DeclareLaunchArgument)]
    assert {"namespace", "params_file", "rviz", "use_sim_time"} <= {d.name for d in declared}
    assert all(d.description for d in declared)
