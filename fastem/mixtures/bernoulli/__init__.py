"""Bernoulli mixtures: the model, its start, the estimator around it."""
