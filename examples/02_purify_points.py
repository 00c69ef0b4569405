"""Purification alone, on numpy arrays: for features or scores of any other model.

python 02_purify_points.py [FILE.npz with points, values, colors, normals]
Without a file: a step of floor and wall, whose scores for the two are mostly noise.
"""

import sys

import numpy as np

import geopurify_ros as gp


def step(num: int = 60_000) -> dict[str, np.ndarray]:
    """Floor and wall, 4 m wide; scores (N, 2) for "floor" and "wall"."""
    rng = np.random.default_rng(0)
    is_wall = np.arange(num) % 2 == 1
    along, across = rng.uniform(0, 4, num), rng.uniform(0, 2, num)
    return {
        "points": np.stack((along, np.where(is_wall, 0, across), across * is_wall), axis=1),
        "colors": np.where(is_wall[:, None], (200, 190, 170), (120, 90, 60)),
        "normals": np.where(is_wall[:, None], (0, 1, 0), (0, 0, 1)),
        "values": np.stack((~is_wall, is_wall), axis=1) + rng.normal(0, 2, (num, 2)),
    }


data = np.load(sys.argv[1]) if len(sys.argv) > 1 else step()
purified = gp.purify_points(data["points"], data["values"], data["colors"], data["normals"])
if len(sys.argv) == 1:
    for name, scores in (("raw", data["values"]), ("purified", purified)):
        print(f"{name}: {(scores.argmax(axis=1) == np.arange(len(scores)) % 2).mean():.1%} right")
else:
    np.save("purified.npy", purified)
