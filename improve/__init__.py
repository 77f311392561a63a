"""IMPROVE: a team of language-model roles builds an image classifier and refines one component at a time."""

__version__ = "0.1.0"
