"""State representations: what a policy sees of its environment."""
