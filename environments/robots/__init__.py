"""Robots: actuators and proprioception, without reward."""
