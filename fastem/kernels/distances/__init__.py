"""Distances between rows and points, and which point is nearest."""
