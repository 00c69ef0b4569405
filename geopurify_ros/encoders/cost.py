"""What encoders cost on this machine: `python -m geopurify_ros.encoders.cost`.

One thread, processor time, median; with depth where a model takes it. The weights of open_clip
models are random: they cost what trained ones cost, and need no network.
"""

from __future__ import annotations

import logging
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from geopurify_ros.core.mapping.encoder import encode_frame
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.encoders.builtin import BuiltinEncoder
from geopurify_ros.encoders.openclip import OpenClipEncoder, import_open_clip

MODELS = ("builtin", "ViT-B-32", "ViT-B-16", "ViT-B-16+naclip", "RN50", "MobileCLIP-S1")
SIZES = ((240, 320), (480, 640))
_HEADER = (
    f"{'model':16} {'dtype':9} {'D':>5}  {'320x240':>19}  {'640x480':>19}  {'a new text':>10}"
)


def main(models: Iterable[str] = MODELS, repeats: int = 5) -> None:
    """Print one row per model and number type; the type that would be picked has a star."""
    torch.set_num_threads(1)
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns of random weights
    print(f"{_processor()}, torch {torch.__version__}, one thread, processor time, median")
    print(_HEADER)
    for name in models:
        picked = _encoder(name, None).dtype
        for dtype in (torch.float32, torch.bfloat16):
            star = "*" if dtype == picked else " "
            print(star + _row(name, _encoder(name, dtype), repeats), flush=True)


def random_encoder(name: str, dtype: torch.dtype | None) -> OpenClipEncoder:
    """A model with random weights; "+naclip" as in `load_open_clip`."""
    open_clip = import_open_clip()
    model_name = name.removesuffix("+naclip")
    model = open_clip.create_model(model_name)
    tokenizer = open_clip.get_tokenizer(model_name)
    return OpenClipEncoder(model, tokenizer, f"{name}:random", name != model_name, dtype)


def _encoder(name: str, dtype: torch.dtype | None) -> BuiltinEncoder | OpenClipEncoder:
    if name == "builtin":
        return BuiltinEncoder(torch.device("cpu"), dtype=dtype)
    return random_encoder(name, dtype)


def _row(name: str, encoder: BuiltinEncoder | OpenClipEncoder, repeats: int) -> str:
    cells = []
    for height, width in SIZES:
        frame = _frame(height, width)
        rows, columns = encode_frame(encoder, frame, "cpu", use_depth=True).shape[2:]
        grid = f"{columns}x{rows}"
        spent = _median_ms(lambda f: encode_frame(encoder, f, "cpu", True), frame, repeats)
        cells.append(f"{spent:7.0f} ms ({grid:>5})")
    words = encoder._ensemble if isinstance(encoder, OpenClipEncoder) else encoder.embed
    text = _median_ms(words, "a red chair", repeats)
    kind = str(encoder.dtype).removeprefix("torch.")
    dim = encoder.feature_dim
    return f"{name:15} {kind:9} {dim:5}  {cells[0]:>19}  {cells[1]:>19}  {text:7.0f} ms"


def _frame(height: int, width: int) -> RgbdFrame:
    """A noisy picture of a floor that is seen from 1.2 m above, 30 degrees down."""
    rng = np.random.default_rng(0)
    focal = 0.8 * width
    lens = np.array([[focal, 0, width / 2 - 0.5], [0, focal, height / 2 - 0.5], [0, 0, 1]])
    y = (np.arange(height) - lens[1, 2]) / focal
    depth_m = 1.2 / np.maximum(0.15, 0.87 * y + 0.5)[:, None] * np.ones(width)
    depth_m += rng.normal(0, 0.005, depth_m.shape)
    rgb = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    return RgbdFrame(rgb, depth_m.astype(np.float32), lens, np.eye(4), 0)


def _median_ms(run: Callable[[Any], Any], argument: Any, repeats: int) -> float:
    run(argument)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run(argument)
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main(sys.argv[1:] or MODELS)
