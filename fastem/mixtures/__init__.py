"""Mixtures: the models, their starts, the estimators around them."""
