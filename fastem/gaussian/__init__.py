"""The parts of GaussianMixture: covariance types and starts."""
