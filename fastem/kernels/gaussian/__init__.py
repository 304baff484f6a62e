"""Passes of Gaussian mixtures: one file for each covariance type, all with the same interface."""

from fastem.kernels.gaussian.base import GaussianPass, GaussianStatistics, Parameters
from fastem.kernels.gaussian.full import FullPass

__all__ = ["PASSES", "GaussianPass", "GaussianStatistics", "Parameters"]

PASSES: dict[str, type[GaussianPass]] = {"full": FullPass}
