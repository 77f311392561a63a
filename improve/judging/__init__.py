"""Trusted verdicts: predictions and hidden labels in, scores, audits and verdicts out.

What is decided here is decided from numbers alone, never from text that generated code or a model wrote. Imports
execution's predictions, datasets and the record.
"""
