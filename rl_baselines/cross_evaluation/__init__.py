"""Every policy on every task, with common start seeds."""
