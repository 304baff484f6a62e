"""What K-medians knows of the L1 distance: frame, starts, empty clusters."""
