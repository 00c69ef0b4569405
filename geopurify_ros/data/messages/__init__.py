"""What ROS messages hold, without ROS: images, calibration, poses, and their times."""
