"""Studies: many runs by one command, started through Hydra's launchers, resumed by the same command.

In come the overrides of a sweep, out go its runs, their table and what failed. Imports sessions only where a run is
carried out, so that a sweep starts quickly.
"""
