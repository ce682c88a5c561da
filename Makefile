# `make train` and `make test` do all the set-up they need: Python 3.11 or newer with pip and venv is enough.

VENV := .venv
# Asked for only when the environment is made.
PYTHON ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo python3)
# A package index with the PyTorch build to use; empty: the one that pip finds by itself.
TORCH_INDEX ?=
# Test processes; the tests run torch on one thread each.
PYTEST_WORKERS ?= 2

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed
EXTRAS := test,mujoco,panda,bullet-locomotion,minari,wandb
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(PYTEST_WORKERS)

.PHONY: help install train test test-all lint clean
.DEFAULT_GOAL := help

help:
	@echo "make install    a virtual environment in $(VENV) with the tested versions; TORCH_INDEX=URL picks a PyTorch build"
	@echo "make train      the demonstration: a robot arm learns to press a button and is fine-tuned (8 minutes at most)"
	@echo "make test       ruff, mypy and all tests that are not slow"
	@echo "make test-all   ruff, mypy and all tests"
	@echo "make lint       ruff and mypy"
	@echo "make clean      remove the environment, caches and build output; logs/ is kept"

# The page of the live view is fetched once; without npm everything else works, and the line above says what to do.
install: $(INSTALLED)
	@$(RUN) -m rl_baselines.live install || echo "Trainings run without their live view; all else is installed."

# Visdom comes as source only, and its build needs the pkg_resources of a setuptools below 82: hence without isolation,
# in an environment that already holds the tested setuptools.
$(INSTALLED): setup.py constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, $(PYTHON) is {sys.version.split()[0]}; name another with make install PYTHON=...")'
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(PIP) install --quiet --no-deps --index-url $(TORCH_INDEX) "$$(grep '^torch==' constraints.txt)")
	$(PIP) install --quiet --constraint constraints.txt setuptools wheel
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation visdom
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable ".[$(EXTRAS)]"
	@touch $@

train: install
	$(RUN) -m rl_baselines.demonstration

lint: install
	$(RUN) -m ruff check .
	$(RUN) -m mypy

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
