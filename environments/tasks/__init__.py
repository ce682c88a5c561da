"""Tasks: start, target, reward and success, without a particular robot."""
