"""Files in and out: sequences, map files, point clouds, pictures."""
