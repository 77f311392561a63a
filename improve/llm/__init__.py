"""Asking a language model, or the rule-based expert that stands in for one."""
