#!/usr/bin/env bash
# Sets up .venv on first use, then runs the tests; arguments are pytest's:
#   bash scripts/test.sh -m slow tests/test_resume.py
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up weights,wandb,test
cd "$root"
# Two files at a time: more would starve the trainings in them on small machines. Fixtures are shared within a file,
# and tests/conftest.py has put the longest files first.
exec "$venv/bin/python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
