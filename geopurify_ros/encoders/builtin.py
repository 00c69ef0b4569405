"""The encoder that works everywhere: our own towers, 24 MB, trained by `geopurify train`.

Trained on generated rooms and on what ImageNet and WordNet know (assets/builtin_encoder.md says
what it is good and bad at). It looks at the depth image beside the colours, where there is one. It
needs torch alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Conv2d
from torch.nn.functional import interpolate

from geopurify_ros.core.mapping.encoder import AnswerProfile
from geopurify_ros.encoders.answers_file import answers_path, read_answers
from geopurify_ros.encoders.basis_file import basis_path, read_basis
from geopurify_ros.encoders.builtin_file import read_builtin
from geopurify_ros.encoders.depth_channels import NUM_CHANNELS, depth_channels
from geopurify_ros.encoders.depth_tower import STRIDE as DEPTH_STRIDE
from geopurify_ros.encoders.fused_conv import can_fuse
from geopurify_ros.encoders.image_tower import STRIDE, ImageTower
from geopurify_ros.encoders.inference_form import InferenceForm
from geopurify_ros.encoders.precision import GLANCE_PX, TRIAL_PX, Call, pick_dtype, ramp, tried
from geopurify_ros.encoders.text_cache import cached_text
from geopurify_ros.encoders.text_tower import tokenize

BUILTIN_FILE = Path(__file__).parents[1] / "assets" / "builtin_encoder.safetensors"
# Of the shorter side. Chosen on validation rooms: small images gain by being enlarged.
_LEAST_SIDE_PX, _MOST_SIDE_PX = 320, 384
_MOST_CELLS = 40  # of 32 px along the longer side; a very long image would cost without end


class BuiltinEncoder:
    """Dense features of stride 4 and sentence vectors (see module)."""

    reads = "builtin reads English"
    # where the file has them beside it
    basis: Tensor
    vocabulary: tuple[str, ...]
    answer_profile: AnswerProfile

    def __init__(
        self, device: torch.device, path: Path = BUILTIN_FILE, dtype: torch.dtype | None = None
    ) -> None:
        """Read both towers and find the faster number type.

        Args:
            device: for the image tower; text stays on the CPU until it is encoded.
            path: of the file.
            dtype: instead of the faster one; tried on a small image.

        Raises:
            ConfigError: the device cannot compute in `dtype`.
            CheckpointError: the file is missing or damaged, or what lies beside it is.
        """
        builtin = read_builtin(path)
        self.id = builtin.id
        self.feature_dim = builtin.text.project.out_features
        self.logit_scale = builtin.logit_scale
        self.about = builtin.about
        if (basis := read_basis(basis_path(path), self.id, self.feature_dim)) is not None:
            self.basis = basis.to(device)
        if (known := read_answers(answers_path(path), self.id)) is not None:
            self.vocabulary, self.answer_profile = known
        self._device = device
        self._text, self._splitter = builtin.text, builtin.splitter
        image = builtin.image.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if device.type == "cpu":
            _hand_to_onednn(image)
        self.dtype = dtype or _pick_dtype(image, device, self.id)
        self._image = image.to(self.dtype)
        if dtype is not None:  # in another run: what one packs for a size stays in memory
            tried(self.id, dtype, device,
                  lambda: _as_run(self._image)(*_made_up(dtype, GLANCE_PX, device)))
        self._run = _as_run(self._image)

    def encode_image(self, rgb: Tensor) -> Tensor:  # (B, 3, H, W) 0..1 -> (B, D, h, w)
        """Unit-norm features, one for every 4 px of the image scaled to 320..384 px height."""
        return self._encode(rgb, None)

    def encode_rgbd(
        self,
        rgb: Tensor,  # (1, 3, H, W) 0..1
        depth_m: Tensor,  # (H, W), NaN: none
        intrinsics: Tensor,  # (3, 3)
    ) -> Tensor:  # (1, D, h, w)
        """The same with what the shape tells: far better where colours mislead."""
        rows, columns = working_size(rgb.shape[-2], rgb.shape[-1])
        cells = (rows // DEPTH_STRIDE, columns // DEPTH_STRIDE)
        return self._encode(rgb, depth_channels(depth_m.to(self._device), intrinsics, cells)[None])

    @torch.inference_mode()
    def _encode(self, rgb: Tensor, channels: Tensor | None) -> Tensor:
        size = working_size(rgb.shape[-2], rgb.shape[-1])
        image = rgb.to(self._device)
        if size != tuple(rgb.shape[-2:]):
            image = interpolate(image, size=size, mode="bilinear", antialias=True)
        image = image.to(self.dtype).contiguous(memory_format=torch.channels_last)
        if channels is None:
            channels = image.new_zeros((1, NUM_CHANNELS, *(side // DEPTH_STRIDE for side in size)))
        channels = channels.to(self.dtype).contiguous(memory_format=torch.channels_last)
        # one by one: half-precision kernels round differently for another batch size
        made = [self._run(one, channels) for one in torch.split(image, 1)]
        return made[0] if len(made) == 1 else torch.cat(made)

    def encode_text(self, texts: tuple[str, ...]) -> Tensor:  # (L, D)
        """Unit-norm sentence vectors."""
        # one by one: a vector must not depend on what else is asked
        made = cached_text(self.id, texts, lambda: torch.cat([self.embed(t) for t in texts]))
        return made.to(self._device)

    def unreadable(self, text: str) -> tuple[str, ...]:
        """Words of other scripts, which all are one vector; a text of signs alone is one, too."""
        return self._splitter.unreadable(text)

    @torch.inference_mode()
    def embed(self, text: str) -> Tensor:  # (1, D)
        """The vector of one text, computed anew."""
        return self._text(*tokenize(self._splitter, [text]))  # type: ignore[no-any-return]


def working_size(height: int, width: int) -> tuple[int, int]:
    """Height and width in pixels that an image is scaled to, multiples of 32."""
    short = min(height, width)
    scale = min(max(short, _LEAST_SIDE_PX), _MOST_SIDE_PX) / short
    rows, columns = (
        min(_MOST_CELLS, max(1, round(side * scale / STRIDE))) for side in (height, width)
    )
    return rows * STRIDE, columns * STRIDE


def _hand_to_onednn(image: ImageTower) -> None:
    """Four fifths of the time in float32 on one thread, where the tower is run as it is.

    There torch keeps 1x1 convolutions from oneDNN (`use_mkldnn` in its Convolution.cpp), unless
    they are dilated; for a single tap any dilation is the same.
    """
    for module in image.modules():
        if isinstance(module, Conv2d) and module.kernel_size == (1, 1):
            module.dilation = (2, 2)


def _as_run(image: ImageTower) -> Callable[[Tensor, Tensor], Tensor]:
    """The tower in the form that is fastest here; the weights are shared where they can be."""
    return InferenceForm(image) if can_fuse(image.class_vectors) else image


def _pick_dtype(image: ImageTower, device: torch.device, name: str = "builtin") -> torch.dtype:
    return pick_dtype(name, partial(_trial, image), device)


def _trial(image: ImageTower, dtype: torch.dtype, side_px: int = TRIAL_PX) -> Call:
    run = _as_run(copy.deepcopy(image).to(dtype))
    inputs = _made_up(dtype, side_px)
    return lambda: run(*inputs)


def _made_up(
    dtype: torch.dtype, side_px: int, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """A picture (1, 3, side, side) without depth (1, 8, side / 4, side / 4)."""
    picture = ramp(dtype, side_px, device).contiguous(memory_format=torch.channels_last)
    cells = side_px // DEPTH_STRIDE
    return picture, picture.new_zeros((1, NUM_CHANNELS, cells, cells))
