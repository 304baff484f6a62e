"""What passes of K-means and K-medians share: the coordinates, and the rows that moved."""

from fastem.kernels.clusters.frame import Frame

__all__ = ["Frame"]
