"""Where the runs of a study go: side by side on this machine, to a Ray cluster, to Slurm. One class each, for Hydra.

The packages `hydra-joblib-launcher` and `hydra-submitit-launcher` are of 2022: a worker that is killed ends the whole
sweep in the first, and in the second is never noticed on a cluster without accounting. In those, and in
`hydra-ray-launcher`, runs share worker processes, and a Ctrl-C ends them as it may.
"""
