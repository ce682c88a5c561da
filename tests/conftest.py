"""Settings of the whole test session."""

import os

# Small networks run fastest on one thread, and several test processes share the machine. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ["CI"] = "true"  # nobody watches: no test starts a live view that it does not end

import pytest

pytest.register_assert_rewrite("resuming")
