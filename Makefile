# make demo | make check | make test | make setup | make clean. Everything lives in .venv; nothing is installed outside.
SHELL := /bin/bash
PYTHON ?= python3
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# TORCH_INDEX=<url of PyTorch's CPU index> saves CPU-only users the CUDA packages.
PIP_TORCH := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
SOURCES := setup.py pyproject.toml package.xml CMakeLists.txt $(wildcard msg/*.msg srv/*.srv)

# A shell with a ROS 2 sourced must not leak into the virtual environment, nor the other way round.
unexport PYTHONPATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE ROS_DISTRO RMW_IMPLEMENTATION VIRTUAL_ENV
unexport FASTDDS_DEFAULT_PROFILES_FILE FASTRTPS_DEFAULT_PROFILES_FILE ROS_LOCALHOST_ONLY
# Never touch a live robot: this machine only, and a domain per run unless the user names one.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST

.PHONY: demo check test setup lint bench clean check-machine
demo: setup
	$(BIN)/geopurify demo --out out/demo

test: setup $(VENV)/.stamp-dev lint
	$(BIN)/python -m pytest

# Under three minutes: what is marked slow is left to `make test`.
check: setup $(VENV)/.stamp-dev lint
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup
	$(BIN)/geopurify bench

setup: check-machine $(VENV)/.stamp-build

check-machine:
	@PYTHON="$(PYTHON)" bash scripts/check_machine.sh

$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "make: python3 cannot make a virtual environment: install python3-venv, then run make again." >&2; exit 1; }

# pip's notes on locations that it does not use are noise.
$(VENV)/.stamp-requirements: requirements.txt constraints.txt | $(BIN)/python
	@echo "setting up .venv (the first time takes a few minutes)"
	@$(PIP) install -q $(PIP_TORCH) -r requirements.txt -c constraints.txt 2> >(grep -v 'is ignored' >&2)
	@touch $@

$(VENV)/.stamp-build: $(VENV)/.stamp-requirements $(SOURCES)
	@echo "building the ROS interfaces"
	@PATH=$(BIN):$$PATH $(PIP) install -q --no-build-isolation --no-deps -e . 2> >(grep -v 'is ignored' >&2)
	@touch $@

$(VENV)/.stamp-dev: requirements-dev.txt requirements-train.txt constraints.txt $(VENV)/.stamp-requirements
	@$(PIP) install -q -r requirements-dev.txt -r requirements-train.txt -c constraints.txt 2> >(grep -v 'is ignored' >&2)
	@touch $@

clean:
	rm -rf $(VENV) build install log out geopurify_ros/msg geopurify_ros/srv geopurify_ros/*.so *.egg-info
