"""Covariances of every component's own, unrestricted."""

import math
from typing import NamedTuple

import numpy as np
from numba import types

from fastem.kernels.compiling import variant
from fastem.kernels.gaussian.base import GaussianPass, Parameters
from fastem.kernels.gaussian.driver import accumulate_tiles, log_joint_tile, prepare_tile
from fastem.kernels.simd import TILE


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
    dtype = np.float32 if tile.dtype == types.float32 else np.float64
    half, zero = dtype(0.5), dtype(0)

    def implementation(packed, tile, n_features, scratch, components, n_listed, log_joint):
        means, remainders = packed.means[0], packed.means[1]
        for i in range(n_listed):
            j = components[i]
            for lane in range(TILE):
                log_joint[j * TILE + lane] = packed.constants[j]
            for f in range(n_features):
                for lane in range(TILE):
                    scratch[lane] = zero
                for g in range(f + 1):
                    for lane in range(TILE):
                        difference = (tile[g * TILE + lane] - means[j, g]) - remainders[j, g]
                        scratch[lane] += difference * packed.factors[j, g, f]
                for lane in range(TILE):
                    log_joint[j * TILE + lane] -= half * scratch[lane] * scratch[lane]

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
        size = n_features + 1
        start = component * size * size
        for i in range(n_chosen):
            t = chosen[i]
            for lane in range(TILE):
                share = np.float64(shares[t * stride + component * TILE + lane])
                for f in range(n_features):
                    scratch[f] = (
                        tiles[(t * n_features + f) * TILE + lane] - centers[0, component, f]
                    ) - centers[1, component, f]
                totals[start] += share
                for f in range(n_features):
                    product = share * np.float64(scratch[f])
                    totals[start + f + 1] += product
                    for g in range(n_features):
                        at = start + (f + 1) * size + g + 1
                        totals[at] += product * np.float64(scratch[g])

    return implementation


class FullPass(GaussianPass):
    """Passes with "full" covariances."""

    def _work(self, n_features):
        return n_features * (n_features + 2) + 16

    def _size_of_totals(self, n_components, n_features):
        return n_components * (n_features + 1) ** 2

    def _scratch_size(self, n_tiles):
        return max(TILE, self._rows.shape[1])

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
            np.ascontiguousarray(factors, dtype),
            (constants - reference).astype(dtype),
            reference,
        )

    def _unpack(self, totals):
        size = self._rows.shape[1] + 1
        totals = totals.reshape(self._n_components, size, size)
        return totals[:, 0, 0].copy(), totals[:, 0, 1:].copy(), totals[:, 1:, 1:].copy()
