"""Covariances of every component's own, unrestricted."""

import math
from typing import NamedTuple

import numpy as np
from numba import types

from fastem.kernels.compiling import variant
from fastem.kernels.gaussian.base import GaussianPass, Parameters
from fastem.kernels.gaussian.driver import accumulate_tiles, log_joint_tile, prepare_tile
from fastem.kernels.gaussian.scatter import add_products, totals_size, unpack_totals
from fastem.kernels.gaussian.whitening import pack_triangles, whitened_norms


class FullPacked(NamedTuple):
    """The parameters as the kernels take them, in the rows' dtype.

    ``means`` and ``remainders`` add up to the means; ``factors`` are the precisions' Cholesky
    factors; ``constants`` are log-densities at the means, relative to ``reference``.
    """

    means: np.ndarray
    factors: np.ndarray
    constants: np.ndarray
    reference: float


def _is_full(packed):
    return isinstance(packed, types.NamedTuple) and packed.instance_class is FullPacked


@variant(prepare_tile)
def _prepare(packed, tile, n_features, scratch):
    if _is_full(packed):
        return lambda packed, tile, n_features, scratch: None


@variant(log_joint_tile)
def _log_joint(packed, tile, n_features, scratch, components, n_listed, log_joint):
    if not _is_full(packed):
        return None

    def implementation(packed, tile, n_features, scratch, components, n_listed, log_joint):
        for i in range(n_listed):
            j = components[i]
            peak = packed.constants[j]
            whitened_norms(tile, n_features, packed.means, j, packed.factors, peak, log_joint)

    return implementation


@variant(accumulate_tiles)
def _accumulate(
    packed, centers, component, tiles, n_features, chosen, n_chosen, shares, stride, scratch, totals
):
    if not _is_full(packed):
        return None

    def implementation(
        packed,
        centers,
        component,
        tiles,
        n_features,
        chosen,
        n_chosen,
        shares,
        stride,
        scratch,
        totals,
    ):
        add_products(
            tiles, n_features, chosen, n_chosen, centers, component, shares, stride, totals
        )

    return implementation


class FullPass(GaussianPass):
    """Passes with "full" covariances."""

    def _work(self, n_features):
        return n_features * (n_features + 2) + 16

    def _size_of_totals(self, n_components, n_features):
        return n_components * totals_size(n_features)

    def _scratch_size(self, n_tiles):
        return 0

    def _standard_parameters(self, means):
        k, d = means.shape
        return Parameters(np.zeros(k), means, np.broadcast_to(np.eye(d), (k, d, d)))

    def _pack(self, parameters):
        dtype = self._rows.dtype
        factors = parameters.precisions_cholesky
        n_features = factors.shape[1]
        constants = (
            parameters.log_weights
            + np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
            - 0.5 * n_features * math.log(2 * math.pi)
        )
        reference = float(constants.max())
        return FullPacked(
            self._split(parameters.means),
            pack_triangles(factors, dtype),
            (constants - reference).astype(dtype),
            reference,
        )

    def _unpack(self, totals):
        return unpack_totals(totals.reshape(self._n_components, -1), self._rows.shape[1])
