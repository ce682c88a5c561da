"""Robots in PyBullet as Gymnasium environments; importing the package registers their ids."""

from environments.registry import register_environments

register_environments()
