"""open_clip models with random weights."""

import copy

import torch

from geopurify_ros.encoders.openclip import OpenClipEncoder, import_open_clip


def random_model(name, **settings):
    """Fixed random weights; a new ResNet's blocks would add nothing, so theirs are drawn too."""
    torch.manual_seed(0)
    model = import_open_clip().create_model(name, **settings).eval()
    for key, parameter in model.visual.named_parameters():
        if key.endswith("bn3.weight"):
            torch.nn.init.uniform_(parameter)
    return model


class Made:
    """A model as open_clip made it, its answer to one image, and our encoder of it."""

    def __init__(self, name):
        model = random_model(name)
        side = model.visual.image_size
        self.image = image(*(side if isinstance(side, tuple) else (side, side)))
        self.state = copy.deepcopy(model.state_dict())
        with torch.inference_mode():
            self.expected = model.encode_image(self.image)
        tokenizer = import_open_clip().get_tokenizer(name)
        self.encoder = OpenClipEncoder(model, tokenizer, f"{name}:random")
        self.visual = model.visual


def image(height, width, seed=0):
    return torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(seed))
