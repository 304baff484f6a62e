"""Gaussian mixtures of rows with missing entries, or with errors of known size."""
