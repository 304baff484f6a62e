"""Passes for log-densities that are linear in few terms, at a matrix product's speed."""
