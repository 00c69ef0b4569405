"""A corridor long enough for parts of it not to know each other, and changes of it."""

import torch
from box_room import Oracle
from torch.nn.functional import normalize

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.mapping.fusion import FeatureBags, FrameVoxels
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.student import StudentNet, StudentShape

LENGTH, WIDTH, HEIGHT = 260, 24, 12  # voxels of a corridor, 13 m long
NAMES = tuple(f"thing {k}" for k in range(8))


class Names(Oracle):
    """Names what lies along the corridor."""

    vocabulary = NAMES

    def encode_text(self, texts):
        return torch.eye(self.feature_dim)[[NAMES.index(text) for text in texts]]


def corridor():
    """(V, 3) voxels of a floor and a wall."""
    x = torch.arange(LENGTH)
    floor = torch.cartesian_prod(x, torch.arange(WIDTH), torch.zeros(1, dtype=torch.int64))
    wall = torch.cartesian_prod(x, torch.zeros(1, dtype=torch.int64), torch.arange(1, HEIGHT))
    return torch.cat((floor, wall))


def seen(coords, generator):
    """One view of voxels: what they are goes by where they are, with noise."""
    count = len(coords)
    kind = (coords[:, 0] // 20 + 3 * (coords[:, 2] > 0)) % len(NAMES)
    features = torch.zeros((count, 32)).scatter_(1, kind[:, None], 1.0)
    features += 0.4 * torch.randn((count, 32), generator=generator)
    on_wall = (coords[:, 2] > 0).float()[:, None]
    normal = on_wall * torch.tensor([0, 1.0, 0]) + (1 - on_wall) * torch.tensor([0, 0, 1.0])
    normal = normalize(normal + 0.1 * torch.randn((count, 3), generator=generator), dim=1)
    color = 30.0 * kind[:, None] + 10 * torch.rand((count, 3), generator=generator)
    weight = torch.randint(1, 40, (count,), generator=generator).float()
    return FrameVoxels(coords, FeatureBags.of(normalize(features, dim=1)), color, normal, weight)


def pipeline_of(embedding, kind="features", encoder=None, device="cpu"):
    config = with_values(Config(), {"purify.embedding": embedding, "purify.neighbors": 16})
    torch.manual_seed(0)
    shape = StudentShape(input=kind, hidden=16, blocks=2, embedding_dim=16)
    student = StudentNet(shape, shape.in_channels(32)) if embedding == "student" else None
    if student is not None:
        student = student.to(device)
    made = Pipeline(encoder or Names(), config, device, student)
    made.map.up_sum = torch.tensor([0, 0, 1.0], dtype=torch.float64)
    return made


def integrate(pipeline, coords, generator):
    with torch.inference_mode():
        view = seen(coords, generator)
        device = pipeline.device
        pipeline.map.integrate(FrameVoxels(
            view.coords.to(device), FeatureBags.of(view.bags.features().to(device)),
            view.color.to(device), view.normal.to(device), view.weight.to(device)), 0)


def a_place(generator):
    """Rows of the corridor that a camera might see."""
    voxels = corridor()
    first = int(torch.randint(0, LENGTH - 40, (1,), generator=generator))
    return voxels[(voxels[:, 0] >= first) & (voxels[:, 0] < first + 30)]


def change(pipeline, generator):
    """Voxels are seen again, others for the first time, and some are taken out."""
    place = a_place(generator)
    some = place[torch.randperm(len(place), generator=generator)[: len(place) // 2]]
    step = int(torch.randint(0, 3, (1,), generator=generator))
    if step == 0:
        pipeline.remove(pipeline.map.index.lookup(some[pipeline.map.index.lookup(some) >= 0]))
    elif step == 1:
        shelf = some + torch.tensor([0, 4, 5])
        integrate(pipeline, torch.unique(shelf, dim=0), generator)
    else:
        integrate(pipeline, some, generator)
