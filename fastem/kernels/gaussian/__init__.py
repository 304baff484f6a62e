"""Passes of Gaussian mixtures: one file for each covariance type, all with the same interface."""

from fastem.kernels.gaussian.base import GaussianComponents, GaussianPass, GaussianStatistics
from fastem.kernels.gaussian.diag import DiagPass
from fastem.kernels.gaussian.full import FullPass
from fastem.kernels.gaussian.spherical import SphericalPass
from fastem.kernels.gaussian.tied import TiedDiagPass, TiedPass, TiedSphericalPass

__all__ = ["PASSES", "GaussianComponents", "GaussianPass", "GaussianStatistics"]

PASSES: dict[str, type[GaussianPass]] = {
    "full": FullPass,
    "tied": TiedPass,
    "diag": DiagPass,
    "spherical": SphericalPass,
    "tied_diag": TiedDiagPass,
    "tied_spherical": TiedSphericalPass,
}
