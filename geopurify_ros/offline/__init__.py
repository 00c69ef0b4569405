"""Without ROS: recordings to maps, maps to answers, as functions."""
