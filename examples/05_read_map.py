"""A map file read without this package: python 05_read_map.py room.safetensors."""

import json
import sys

import numpy as np
from safetensors import safe_open

if len(sys.argv) != 2:
    sys.exit(__doc__)
with safe_open(sys.argv[1], framework="np") as file:
    header = json.loads(file.metadata()["geopurify_map"])
    coords = file.get_tensor("coords")  # (V, 3) int32
    features = file.get_tensor("features")  # (V, D) float16, not of unit norm
    color, normal, pixels = np.split(file.get_tensor("attributes"), (3, 6), axis=1)
    last_seen_ns = file.get_tensor("last_seen_ns")  # (V,) int64

size_m = header["voxel_size_m"]
centers_m = (coords + 0.5) * size_m  # in the frame header["frame"]
low, high = centers_m.min(axis=0), centers_m.max(axis=0)
print(f"{len(coords)} voxels of {size_m} m in '{header['frame']}', features of "
      f"{features.shape[1]} channels from encoder {header['encoder']}")
print("from {:.2f} {:.2f} {:.2f} to {:.2f} {:.2f} {:.2f} m".format(*low, *high))
print(f"seen by {pixels.mean():.0f} pixels each, mean colour {color.mean(axis=0).round()}")

# What else looks like the first voxel? A text vector of the same encoder would do as well.
unit = features.astype(np.float32)
unit /= np.linalg.norm(unit, axis=1, keepdims=True).clip(1e-6)
similar = unit @ unit[0] > 0.9
print(f"{similar.sum()} voxels are like the one at {centers_m[0]}")
