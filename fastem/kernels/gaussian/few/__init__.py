"""Iterations over few rows, several in one call."""
