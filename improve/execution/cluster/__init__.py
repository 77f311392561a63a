"""Trainings and predictions on the nodes of a Ray cluster, each in a sandbox there.

On this machine stay the journal, the hidden labels and the scores. `job.py` is what a node is told, `store.py` and
`station.py` what runs there, `network.py` how the sandboxes of a training on several nodes reach each other (nothing of
Ray is in them), `post.py` this machine's end of a station, `connection.py` the cluster, and `executor.py` the executor
of a run.
"""
