"""The ROS 2 side: the only importer of rclpy, tf2 and message packages."""
