"""Recipes of the field as three components each, and as plain scripts."""
