"""Writes small sequence folders, each frame as it can be told from the others."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

K = np.array([[40.0, 0, 31.5, 0], [0, 40.0, 23.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def write_sequence(folder, names=("000000", "000001"), color_size=(64, 48), color_k=K):
    """A small sequence: frame i has x = i metres, depth 1000 + i mm and colour i everywhere."""
    for part in ("color", "depth", "pose", "intrinsic", "label"):
        (folder / part).mkdir(parents=True)
    for number, name in enumerate(names):
        pose = np.eye(4)
        pose[0, 3] = number
        np.savetxt(folder / "pose" / f"{name}.txt", pose)
        Image.new("RGB", color_size, (number, 0, 0)).save(folder / "color" / f"{name}.png")
        depth = np.full((48, 64), 1000 + number, dtype=np.uint16)
        Image.fromarray(depth).save(folder / "depth" / f"{name}.png")
        Image.fromarray(np.full((48, 64), 3, np.uint8)).save(folder / "label" / f"{name}.png")
    np.savetxt(folder / "intrinsic" / "intrinsic_color.txt", color_k)
    np.savetxt(folder / "intrinsic" / "intrinsic_depth.txt", K)
    (folder / "classes.json").write_text(json.dumps({"classes": {"10": "lamp", "3": "chair"}}))
    return folder
