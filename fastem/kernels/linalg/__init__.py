"""Cholesky factors, and products of many small matrices."""
