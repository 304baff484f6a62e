"""Mixtures of a user's own components: the model, the estimator around it."""
