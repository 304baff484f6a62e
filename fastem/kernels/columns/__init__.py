"""Passes that summarise columns: moments, the largest magnitude."""
