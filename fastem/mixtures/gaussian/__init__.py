"""Gaussian mixtures: the model, covariances of all types, mixtures as distributions."""
