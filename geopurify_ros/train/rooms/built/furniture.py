"""Furniture built from parts, in sizes and shapes drawn by chance.

The catalogue has one model of a refrigerator or a ladder to train on, two of a wardrobe: a network
learns those and not the class. No class that is kept out of training is built. What belongs to a
piece has its label: clothes on a rack, pillows on a bed, books on a shelf.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from geopurify_ros.train.rooms.built import (
    boxes,
    devices,
    household,
    kitchen,
    seats,
    storage,
    tables,
    vessels,
)
from geopurify_ros.train.rooms.catalogue import Model
from geopurify_ros.train.rooms.mesh import Mesh, centred
from geopurify_ros.train.rooms.textures import Rng

BUILDERS: dict[str, Callable[[Rng], Mesh]] = {
    "wardrobe": storage.wardrobe, "dresser": storage.dresser, "nightstand": storage.nightstand,
    "tv stand": storage.tv_stand, "cabinet": storage.cabinet, "box": boxes.carton,
    "wall cabinet": storage.wall_cabinet, "kitchen island": storage.kitchen_island,
    "filing cabinet": storage.filing_cabinet, "shelf": boxes.shelf, "chest": boxes.chest,
    "bookshelf": storage.bookshelf, "bread box": boxes.bread_box, "safe": boxes.safe,
    "table": tables.table, "coffee table": tables.coffee_table, "desk": tables.desk,
    "chair": seats.chair, "office chair": seats.office_chair, "stool": seats.stool,
    "bench": seats.bench, "sofa": seats.sofa, "armchair": seats.armchair, "bed": seats.bed,
    "ottoman": seats.ottoman,
    "refrigerator": kitchen.refrigerator, "oven": kitchen.oven, "cooktop": kitchen.cooktop,
    "range hood": kitchen.range_hood, "microwave": kitchen.microwave,
    "washing machine": kitchen.washing_machine, "water cooler": kitchen.water_cooler,
    "water heater": kitchen.water_heater, "air conditioner": devices.air_conditioner,
    "radiator": devices.radiator, "fan": devices.fan, "speaker": devices.speaker,
    "laptop": devices.laptop, "coffee machine": kitchen.coffee_machine,
    "blender": kitchen.blender, "printer": devices.printer, "radio": devices.radio,
    "clock": devices.clock, "headphones": devices.headphones,
    "pinball machine": devices.pinball_machine,
    "vase": vessels.vase, "jar": vessels.jar, "bottle": vessels.bottle, "cup": vessels.cup,
    "glass": vessels.glass, "plate": vessels.plate, "bowl": vessels.bowl, "pan": vessels.pan,
    "trash can": vessels.trash_can, "laundry basket": vessels.laundry_basket,
    "pen holder": vessels.pen_holder, "candle": household.candle, "lamp": household.lamp,
    "wall lamp": household.wall_lamp, "towel": household.towel, "ladder": household.ladder,
    "clothes rack": household.clothes_rack, "room divider": household.room_divider,
    "plant": household.plant, "paper towel": household.paper_towel, "aquarium": boxes.aquarium,
    "toilet paper": household.toilet_paper, "fire extinguisher": household.extinguisher,
    "broom": household.broom,
}  # fmt: skip
_LEAST = 2  # of every class in a room's catalogue
_PER_MODEL = 3  # and one more for so many models of others


def built_models(models: Sequence[Model], rng: Rng) -> dict[Model, Mesh]:
    """New furniture of every class in `BUILDERS`, for one room.

    Args:
        models: of the catalogue; where a class has many, more are built.
        rng: decides about all sizes, shapes and colours.

    Returns:
        Meshes as `mesh.load_model` gives them, by their description.
    """
    made = {}
    for label, build in BUILDERS.items():
        others = sum(model.label == label for model in models)
        for number in range(_LEAST + others // _PER_MODEL):
            mesh = centred(build(rng))
            low, high = mesh.bounds()
            width, depth, height = (high - low).tolist()
            key = f"built:{label}_{number}"
            made[Model(key, label, "geopurify_ros", "Apache-2.0", label, (width, depth, height),
                       0.0, (), Path("built"), "")] = mesh  # fmt: skip
    return made
