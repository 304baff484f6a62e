"""What K-means knows of the Euclidean distance: frame, starts, empty clusters."""
