"""Rows so far away that their squared distances overflow."""
