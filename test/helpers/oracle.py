"""A vision-language model that is right as often as we like (METHODS 6.5, "Oracle VLM").

It knows the label image of each registered frame, and answers with the text vector of the class
of each cell, spoiled the way dense CLIP features are: boundaries bleed by some pixels, blobs and
whole classes are taken for another one in single views, some spots of the room are misread from
everywhere, some classes are favoured, and every feature has noise. The same seed, image and pose
give the same features.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.mapping.geometry import backproject
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.errors import InputError

# What a pixel without label looks like: a text that is nobody's prompt.
_UNLABELED_TEXT = "something without a name"


@dataclass(frozen=True)
class OracleNoise:
    """How wrong the oracle is; all zeros is a perfect one."""

    bleed_px: float = 3.0  # sigma of the blur of labels, and of their wobbling edges
    blob_share: float = 0.12  # of each image, taken for another class in this view only
    blob_radius_px: tuple[float, float] = (6.0, 18.0)
    spot_share: float = 0.05  # of the room's volume, misread from every view
    spot_size_m: float = 0.35
    confusion: float = 0.08  # chance that one view takes a class for its look-alike
    bias: float = 0.03  # sigma of the favour that a class enjoys everywhere
    feature_noise: float = 0.2  # length of the noise vector of a cell; features have length 1


class OracleEncoder:
    """`core.mapping.encoder.ImageTextEncoder` for registered frames."""

    id = "oracle"
    logit_scale = 100.0

    def __init__(
        self,
        class_names: tuple[str, ...],
        noise: OracleNoise | None = None,
        *,
        seed: int = 0,
        feature_dim: int = 64,
        stride_px: int = 8,
        text_cosine: float = 0.8,
    ) -> None:
        """An oracle for labels 1..C of `class_names`; feature cells are `stride_px` wide."""
        self.class_names = class_names
        self.noise = noise or OracleNoise()
        self.feature_dim = feature_dim
        self._seed, self._stride_px, self._text_cosine = seed, stride_px, text_cosine
        self._frames: dict[bytes, tuple[RgbdFrame, NDArray[np.int64]]] = {}
        names = (_UNLABELED_TEXT, *class_names)
        self._vectors = self.encode_text(names).numpy().astype(np.float64)  # (C + 1, D)
        rng = np.random.default_rng((seed, 1))
        count = len(class_names)
        # a cycle: every class has one look-alike, and none is its own
        order = rng.permutation(count) + 1
        self._look_alike = np.zeros(count + 1, dtype=np.int64)
        self._look_alike[order] = np.roll(order, 1)
        self._favour = rng.normal(0.0, self.noise.bias, count + 1)
        self._favour[0] = 0.0
        self._warp = rng.uniform(-np.pi, np.pi, (3, 3))

    def register(self, frame: RgbdFrame, label: NDArray[np.int64]) -> None:
        """Tell the labels (H, W), 0..C, of a frame before its image is encoded."""
        self._frames[_key(frame.rgb)] = (frame, label)

    def encode_text(self, texts: tuple[str, ...]) -> Tensor:  # (L, D)
        """Unit-norm vectors of any words; a common part makes their mean cosine `text_cosine`."""
        common = _unit_vector(f"{self._seed}", self.feature_dim)
        own = np.stack([_unit_vector(f"{self._seed} {t}", self.feature_dim) for t in texts])
        c = self._text_cosine
        return normalize(torch.from_numpy(c**0.5 * common + (1 - c) ** 0.5 * own).float(), dim=1)

    def encode_image(self, rgb: Tensor) -> Tensor:  # (1, 3, H, W) 0..1 -> (1, D, h, w)
        """Features of a registered image.

        Raises:
            InputError: the image was not registered.
        """
        image = (rgb[0] * 255.0).round().byte().permute(1, 2, 0).cpu().numpy()
        key = _key(image)
        if key not in self._frames:
            raise InputError("the oracle was not told the labels of this image")
        frame, label = self._frames[key]
        rng = np.random.default_rng((self._seed, int.from_bytes(key, "little")))
        wrong = self._confuse(rng, self._spoil_spots(frame, self._spoil_blobs(rng, label)))
        return normalize(self._features(rng, self._wobble(rng, wrong)), dim=1).to(rgb.device)

    def _spoil_blobs(
        self, rng: np.random.Generator, label: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Discs of one wrong class each, until they cover `blob_share` of the image."""
        spoiled, covered = label.copy(), np.zeros(label.shape, dtype=bool)
        height, width = label.shape
        v, u = np.mgrid[:height, :width]
        while covered.mean() < self.noise.blob_share:
            radius = rng.uniform(*self.noise.blob_radius_px)
            center_v, center_u = rng.uniform(0, height), rng.uniform(0, width)
            disc = (v - center_v) ** 2 + (u - center_u) ** 2 < radius**2
            spoiled[disc] = rng.integers(1, len(self.class_names) + 1)
            covered |= disc
        return spoiled

    def _spoil_spots(self, frame: RgbdFrame, label: NDArray[np.int64]) -> NDArray[np.int64]:
        """Warped cells of space, some of which read as one wrong class from everywhere."""
        if self.noise.spot_share == 0:
            return label
        points = backproject(torch.from_numpy(frame.depth_m), torch.from_numpy(frame.intrinsics))
        pose = frame.T_world_camera
        world = points.numpy().astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
        bent = world / self.noise.spot_size_m
        bent = bent + 0.35 * np.sin(2 * bent @ self._warp.T + self._warp[0])
        known = np.isfinite(bent).all(axis=-1)
        cell = np.floor(np.where(known[..., None], bent, 0.0)).astype(np.int64)
        lottery = _hash(cell, self._seed)
        hit = known & (lottery % 1000 < 1000 * self.noise.spot_share)
        return np.where(hit, lottery // 1000 % len(self.class_names) + 1, label)

    def _confuse(self, rng: np.random.Generator, label: NDArray[np.int64]) -> NDArray[np.int64]:
        """Some classes are taken for their look-alike in this view."""
        table = np.arange(len(self.class_names) + 1)
        confused = rng.random(len(table)) < self.noise.confusion
        confused[0] = False
        return np.where(confused, self._look_alike, table)[label]

    def _wobble(self, rng: np.random.Generator, label: NDArray[np.int64]) -> NDArray[np.int64]:
        """Labels of pixels some `bleed_px` away: edges move to and fro along their length."""
        height, width = label.shape
        coarse = torch.from_numpy(rng.normal(0.0, self.noise.bleed_px, (1, 2, 6, 8)))
        shift = interpolate(coarse, size=(height, width), mode="bicubic")[0].numpy()
        v, u = np.mgrid[:height, :width]
        return label[
            (v + shift[0]).round().astype(int).clip(0, height - 1),
            (u + shift[1]).round().astype(int).clip(0, width - 1),
        ]

    def _features(self, rng: np.random.Generator, label: NDArray[np.int64]) -> Tensor:
        """(1, D, h, w): shares of the classes in a blurred cell, their vectors, bias and noise."""
        one_hot = torch.nn.functional.one_hot(torch.from_numpy(label), len(self._vectors))
        shares = one_hot.permute(2, 0, 1)[None].float()
        blurred = _blur(shares, self.noise.bleed_px)
        grid = [max(1, round(n / self._stride_px)) for n in label.shape]
        cells = interpolate(blurred, size=grid, mode="area")[0].numpy().astype(np.float64)
        features = np.einsum("chw,cd->dhw", cells, self._vectors)
        features += (self._favour @ self._vectors)[:, None, None]
        scale = self.noise.feature_noise / self.feature_dim**0.5
        features += rng.normal(0.0, scale, features.shape)
        return torch.from_numpy(features).float()[None]


def register_sequence(oracle: OracleEncoder, sequence: Sequence, every: int = 1) -> None:
    """Register every `every`-th frame; ids of classes.json become 1..C in their order."""
    number_of = np.zeros(max(sequence.class_names) + 1, dtype=np.int64)
    number_of[list(sequence.class_names)] = np.arange(1, len(sequence.class_names) + 1)
    for number in range(0, len(sequence), every):
        oracle.register(sequence.frame(number), number_of[sequence.label(number)])


def oracle_for_sequence(
    sequence: Sequence, noise: OracleNoise | None = None, *, seed: int = 0, every: int = 1
) -> OracleEncoder:
    """An oracle that knows every `every`-th frame of a labelled sequence."""
    oracle = OracleEncoder(tuple(sequence.class_names.values()), noise, seed=seed)
    register_sequence(oracle, sequence, every)
    return oracle


def _key(image: NDArray[np.uint8]) -> bytes:
    content = np.ascontiguousarray(image).tobytes() + str(image.shape).encode()
    return hashlib.blake2b(content, digest_size=8).digest()


def _unit_vector(text: str, width: int) -> NDArray[np.float64]:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    vector = np.random.default_rng(int.from_bytes(digest, "little")).normal(size=width)
    return vector / np.linalg.norm(vector)


def _hash(cell: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A number 0..2^31 for each (..., 3) cell of space."""
    mixed = np.full(cell.shape[:-1], 0x9E3779B97F4A7C15 ^ seed, dtype=np.uint64)
    for axis in range(3):
        mixed = (mixed ^ cell[..., axis].astype(np.uint64)) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(29)
    return (mixed >> np.uint64(33)).astype(np.int64)


def _blur(images: Tensor, sigma_px: float) -> Tensor:  # (1, C, H, W) -> same
    """Gaussian blur with repeated edges, one direction after the other."""
    radius = int(np.ceil(2.5 * sigma_px))
    if radius == 0:
        return images
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma_px) ** 2)
    kernel = (kernel / kernel.sum()).to(images)
    channels = images.transpose(0, 1)  # each class is an image of its own
    padded = torch.nn.functional.pad(channels, (radius,) * 4, mode="replicate")
    across = torch.nn.functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return torch.nn.functional.conv2d(across, kernel.view(1, 1, -1, 1)).transpose(0, 1)
