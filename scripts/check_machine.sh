#!/usr/bin/env bash
# Says in one sentence what a bare machine lacks for `make`; silent when nothing does.
python=${PYTHON:-python3}
stop() { echo "make: $1" >&2; exit 1; }

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
  stop "the ROS 2 wheels exist for x86_64 Linux only (this is $(uname -s) $(uname -m)): install ROS 2 and build with colcon, see README.md."
command -v "$python" >/dev/null ||
  stop "$python was not found: install python3 (3.11 or newer) and python3-venv."
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
  stop "$($python --version) will not do, the pinned packages need Python 3.11 to 3.13: call make PYTHON=python3.12, say; on a ROS 2 machine with Python 3.10 build with colcon, see README.md."
[ -x .venv/bin/python ] || "$python" -c 'import ensurepip, venv' 2>/dev/null ||
  stop "$python has no venv module: install python3-venv."
command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
  stop "no C++ compiler was found (the message interfaces are compiled): install g++."
exit 0
