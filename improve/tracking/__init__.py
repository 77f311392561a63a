"""A run in Weights & Biases, by a process of its own that reads the run's folder and nothing else.

In comes the folder of a run, out goes what wandb keeps and uploads. Imports the record.

The run starts that process, never waits for it but a few seconds at its end, and imports nothing of `wandb`: without
network, key, disk or server, or with that process dead, a run goes on and ends as it would without tracking.

    content.py    what is logged: plain values from a run's history
    logger.py     … written by wandb, offline, into the run's folder
    upload.py     … and uploaded by `wandb sync`, with a time limit
    __main__.py   the process: python -m improve.tracking RUN [--upload]
    tracker.py    the run's side of it
    workspace.py  a report over runs in W&B, as code
"""

from improve.tracking.tracker import Tracker, check_installed

__all__ = ["Tracker", "check_installed"]
