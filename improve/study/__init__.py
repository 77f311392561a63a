"""Studies: many runs by one command, started through Hydra's launchers. Nothing here loads what carries out a run."""
