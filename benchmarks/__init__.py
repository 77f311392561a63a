"""Measurements of the project. Each is run by hand; its docstring says how and what it showed."""
