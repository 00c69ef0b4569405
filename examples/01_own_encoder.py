"""An encoder of your own. This one knows colours alone, but any network fits behind the calls."""

from pathlib import Path

import torch
from torch.nn.functional import avg_pool2d, normalize

import geopurify_ros as gp
from geopurify_ros.core.pipeline import Pipeline

COLORS = {"white": (1, 1, 1), "brown": (0.5, 0.3, 0.1), "green": (0.2, 0.4, 0.1),
          "red": (0.8, 0.1, 0.1)}  # fmt: skip


class ColorEncoder:
    """`core/mapping/encoder.py` says what is asked of an encoder."""

    id, feature_dim, logit_scale = "colors", 3, 100.0  # the id goes into map files

    def encode_image(self, rgb: torch.Tensor) -> torch.Tensor:  # (1, 3, H, W) 0..1
        """A grid of features (1, D, h, w) of unit norm, as coarse as you like."""
        return normalize(avg_pool2d(rgb, 4) + 1e-3, dim=1)

    def encode_text(self, texts: tuple[str, ...]) -> torch.Tensor:
        """One vector per text (L, D), of unit norm, in the same space."""
        return normalize(torch.tensor([COLORS[text] for text in texts]).float() + 1e-3, dim=1)


pipeline = Pipeline(ColorEncoder(), gp.with_values(gp.Config(), {
    "purify.embedding": "geometric", "query.negatives": "white"}))  # fmt: skip
for frame in gp.open_recording(Path(gp.__file__).parent / "assets/sample_room").frames(every=4):
    pipeline.integrate(frame)
pipeline.purify()
for one in gp.ask(pipeline, "brown, green, red").prompts:
    print(f"{one.prompt}: {one.num_voxels} voxels")
