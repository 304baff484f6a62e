"""The parts of GaussianMixture: covariance types, parameters, starts, what a distribution has."""
