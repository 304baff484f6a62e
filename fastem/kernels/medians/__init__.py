"""Weighted medians of clusters, found anew or followed while rows move."""
