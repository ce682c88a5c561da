"""Train, fine-tune and compare Stable-Baselines3 policies for robots in PyBullet."""

__version__ = "0.1.0"
