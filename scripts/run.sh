#!/usr/bin/env bash
# Sets up .venv on first use, then runs the main job; arguments are Hydra overrides:
#   bash scripts/run.sh dataset=digits strategy.iterations=4
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up weights
# How a run is started, for the commands that it prints.
printf -v IMPROVE_STARTED_AS 'bash %q' "$0"
export IMPROVE_STARTED_AS
exec "$venv/bin/python" -m improve.run "$@"
