"""Map a recording and ask it: python 00_map_and_ask.py [FOLDER or rosbag2] ["chair, table"]."""

import sys
from pathlib import Path

import geopurify_ros as gp
from geopurify_ros.errors import InputError

SAMPLE = Path(gp.__file__).parent / "assets" / "sample_room"


def main(path: str = str(SAMPLE), question: str = "sofa, plant, bicycle") -> None:
    """Fuse every frame, purify once, ask once."""
    pipeline = gp.new_pipeline()  # gp.new_pipeline(gp.with_values(gp.Config(), {...})) for others
    with gp.open_recording(path) as recording:
        for frame in recording.frames():
            try:
                pipeline.integrate(frame)
            except InputError as error:  # one bad frame is no reason to stop
                print(f"left out: {error}")
    pipeline.purify()
    for one in gp.ask(pipeline, question).prompts:
        where = "not there"
        if one.found:
            where = "{:.2f} {:.2f} {:.2f} m".format(*one.best_position_m)
        print(f"{one.prompt}: {where}, {one.num_voxels} voxels")
    gp.save_map(pipeline, "room.safetensors")  # gp.open_map goes on with it


if __name__ == "__main__":
    main(*sys.argv[1:])
