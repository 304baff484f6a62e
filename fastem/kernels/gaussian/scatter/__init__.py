"""Weighted sums of products of centred features, in registers."""
