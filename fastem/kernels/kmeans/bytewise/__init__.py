"""K-means for many clusters and features: rows and centres are compared in bytes first."""
