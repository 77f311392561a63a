"""The record of a run: its journal, what its records hold, its folder, and a view of it all for those that show it.

In come the results of steps, out come the same results when a run is resumed, read or reported. Imports config,
strategies and what calls cost.
"""
