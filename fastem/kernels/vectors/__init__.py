"""Vectors of the machine as kernels use them, elementary functions, tiles of rows."""
