"""Distillation: one student learns to do what one or more teachers do."""
