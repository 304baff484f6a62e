"""What passes of K-means and K-medians share: the coordinates, rows that moved, and sums."""

from fastem.kernels.clusters.frame import Frame

__all__ = ["Frame"]
