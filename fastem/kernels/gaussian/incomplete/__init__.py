"""Rows of which entries are missing, or that have errors of their own."""
