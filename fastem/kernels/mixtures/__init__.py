"""What the passes of all mixtures share: responsibilities and weighted sums."""
