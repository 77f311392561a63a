"""One run: every part of it built, led through its steps, and ended in order, whatever ends it.

In comes a configuration, out goes the run's folder. Imports all that a run needs, nothing that several runs need.
"""

from improve.session.session import resume_command, run

__all__ = ["resume_command", "run"]
