"""Where trainings and predictions run: warm sandboxed workers on this machine.

In come a pipeline and inputs, out come a training's self-reported rows, or the bytes of predictions once they are
checked; nothing that a worker wrote is ever unpickled. Imports the sandbox, datasets and the template's place.
"""
