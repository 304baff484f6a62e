"""Passes of Gaussian mixtures: a file for each covariance type, all with the same interface."""

from collections.abc import Callable
from functools import partial

from fastem.kernels.gaussian.base import GaussianComponents, GaussianPass, GaussianStatistics
from fastem.kernels.gaussian.diag import diag_pass
from fastem.kernels.gaussian.far.passes import FarRowsPass
from fastem.kernels.gaussian.full import full_pass
from fastem.kernels.gaussian.shared_variance import tied_diag_pass, tied_spherical_pass
from fastem.kernels.gaussian.spherical import spherical_pass
from fastem.kernels.gaussian.tied import tied_pass

__all__ = ["PASSES", "GaussianComponents", "GaussianPass", "GaussianStatistics"]

#: ``(X, sample_weight, n_components)`` to passes, by covariance type.
PASSES: dict[str, Callable[..., GaussianPass]] = {
    name: partial(FarRowsPass, make, name)
    for name, make in {
        "full": full_pass,
        "tied": tied_pass,
        "diag": diag_pass,
        "spherical": spherical_pass,
        "tied_diag": tied_diag_pass,
        "tied_spherical": tied_spherical_pass,
    }.items()
}
