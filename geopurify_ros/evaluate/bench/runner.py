"""`geopurify bench`: the hot paths against the plain way of writing them, in one run.

Machines are shared: each case alternates fast and plain and reports medians, and the ratio is
what counts. `equal` says that both gave the same result; it is none where there is no other way.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from geopurify_ros.encoders import pick_device
from geopurify_ros.errors import ConfigError, InputError
from geopurify_ros.evaluate.bench.full import bench_full
from geopurify_ros.evaluate.bench.fusing import (
    bench_feature_mean,
    bench_fuse,
    bytes_per_voxel,
    copy_bandwidth,
)
from geopurify_ros.evaluate.bench.incremental import bench_incremental
from geopurify_ros.evaluate.bench.parts import (
    Packer,
    bench_neighbours,
    bench_packing,
    bench_text_pooling,
)
from geopurify_ros.evaluate.bench.pictures import bench_encode, bench_keyframe
from geopurify_ros.evaluate.bench.query import bench_query
from geopurify_ros.evaluate.bench.timing import Setup

Case = Callable[[Setup], dict[str, Any]]
CASES: dict[str, Case] = {
    "encode": bench_encode,
    "feature_mean_update": bench_feature_mean,
    "fuse_frame": bench_fuse,
    "neighbour_graph": bench_neighbours,
    "text_pooling": bench_text_pooling,
    "purify_full": bench_full,
    "purify_incremental": bench_incremental,
    "query": bench_query,
    "keyframe_e2e": bench_keyframe,
}
PACKING = "pack_cloud"


def run_bench(
    device: str = "cpu",
    is_quick: bool = False,
    only: Sequence[str] = (),
    packers: tuple[Packer, Packer] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """All cases or some; minutes, `is_quick` less than one.

    Args:
        device: "cpu" or "cuda".
        is_quick: small maps, few repetitions.
        only: names of cases; none: all.
        packers: the node's way and the plain way to pack a cloud; they need ROS.
        tell: is told a line as soon as a case is done.

    Raises:
        InputError: there is no such case.
        ConfigError: there is no such device.
    """
    cases = _chosen(only, packers)
    setup = Setup(_device(device), is_quick)
    done: dict[str, Any] = {}
    result: dict[str, Any] = {
        "machine": machine(), "device": device, "threads": torch.get_num_threads(),
        "measured": setup.clock.name, "is_quick": is_quick, "cases": done,
    }  # fmt: skip
    tell(f"{result['machine']}; {result['measured']}, on {device}")
    with torch.inference_mode():
        bandwidth = copy_bandwidth(setup.clock, setup.repeats)
        result["copy_gb_per_s"] = round(bandwidth / 1e9, 2)
        result["map_bytes_per_voxel"] = round(bytes_per_voxel(setup.device), 1)
        tell(f"copy {result['copy_gb_per_s']} GB/s, map {result['map_bytes_per_voxel']} bytes "
             "per voxel (D = 512)")
        for name, run in cases.items():
            done[name] = run(setup)
            tell(format_case(name, done[name]))
    return result


def _chosen(only: Sequence[str], packers: tuple[Packer, Packer] | None) -> dict[str, Case]:
    cases = dict(CASES)
    if packers is not None:
        cases[PACKING] = partial(bench_packing, pack=packers[0], plain_pack=packers[1])
    unknown = [name for name in only if name not in cases]
    if unknown == [PACKING]:
        raise InputError(f"the case {PACKING} needs ROS 2, which is not here")
    if unknown:
        raise InputError(f"there is no case '{unknown[0]}': choose of {', '.join(cases)}")
    return {name: cases[name] for name in cases if not only or name in only}


def _device(name: str) -> torch.device:
    try:
        return pick_device(name)
    except ConfigError as error:
        raise ConfigError(
            f"the device '{name}' cannot be used here: leave --device out"
        ) from error


def machine() -> str:
    """Processor, threads and versions: what the figures belong to."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        pass
    return (
        f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )


def format_case(name: str, case: dict[str, Any]) -> str:
    """A line, and one for each thing that was measured at several sizes."""
    line = f"{name:20}{case['median_ms']:10.1f} ms (+-{case['spread_ms'] / 2:.1f})"
    if case["peer"]:
        line += f"  x{case['ratio']} against {case['peer']} ({case['peer_ms']:.0f} ms)"
        line += f", equal: {case['equal']}"
    lines = [line]
    if case["growth_exponent"] is not None:
        lines.append(f"  grows as size^{case['growth_exponent']}")
    lines += [
        f"  {key}: {', '.join(_pairs(value))}" for key, value in case.items()
        if isinstance(value, dict) and key != "differences"
    ]  # fmt: skip
    return "\n".join(lines)


def _pairs(values: dict[Any, Any]) -> list[str]:
    """What belongs to each size."""
    return [
        f"{size:,}: {value}" if isinstance(size, int) else f"{size} {value}"
        for size, value in values.items()
    ]
