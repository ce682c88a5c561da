"""Holding a fine-tuned policy near its parent: state memories and penalties."""
