"""A pipeline: three components that plug into the template, which runs in the sandbox or alone.

In come the sources that engineers wrote, out goes what the contract says of them, and at the end of a run the folder
that people take away. Imports datasets and config; the template imports nothing of ours.
"""
