"""The method, on torch and numpy alone: no ROS, no files."""
