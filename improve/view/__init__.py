"""Runs and studies in a browser while they go on: a small server of pages for this machine alone.

In comes the folder of outputs, out go the same pages as the report writes, made anew when something has changed.
Imports the report, and decides nothing.
"""
