"""Rows so far away that their squared distances overflow, or are rounded too much."""
