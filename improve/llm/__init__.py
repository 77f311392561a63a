"""Asking a language model, or the rule-based expert or a cassette in its place.

In comes a `Question`, out goes an `Answer` with its tokens and cost, or an error in words that says what mends it.
Imports config, prices and the expert; litellm only when a model is really asked.
"""
