"""The console commands that are no run: data, dry run, predict, prompts, doctor; a module each.

In come a command's arguments, out go text and an exit code. May import all that a run needs; no run imports a command.
"""
