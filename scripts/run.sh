#!/usr/bin/env bash
# Sets up .venv on first use, then runs the main job; arguments are Hydra overrides:
#   bash scripts/run.sh dataset=digits strategy.iterations=4
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up weights
exec "$venv/bin/python" -m improve.run "$@"
