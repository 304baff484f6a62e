"""Passes that take every row's difference from every mean, for variances along the features.

No digits are lost however far the means are from the origin and from each other, and statistics are
about whatever centres the caller wants. ``linear.py`` is faster.
"""

import math
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.compiling import variant
from fastem.kernels.gaussian.base import GaussianPass, Parameters
from fastem.kernels.gaussian.driver import accumulate_tiles, log_joint_tile, prepare_tile
from fastem.kernels.gaussian.products import sum_tile
from fastem.kernels.simd import (
    TILE,
    VECTOR_BYTES,
    broadcast,
    constant,
    data_pointer,
    fma,
    load,
    load_at,
    splat,
    store,
    sum_lanes,
    vector_lanes,
)


class DifferencesPacked(NamedTuple):
    """The parameters as the kernels take them, in the rows' dtype.

    ``means[0] + means[1]`` are the means; ``scales`` (n_components, n_features) divide differences
    by sqrt(2) sigma; ``constants`` are log-densities at the means, relative to ``reference``.
    """

    means: np.ndarray
    scales: np.ndarray
    constants: np.ndarray
    reference: float


def _is_ours(packed):
    return isinstance(packed, types.NamedTuple) and packed.instance_class is DifferencesPacked


@variant(prepare_tile)
def _prepare(packed, tile, n_features, scratch):
    if _is_ours(packed):
        return lambda packed, tile, n_features, scratch: None


@variant(log_joint_tile)
def _log_joint(packed, tile, n_features, scratch, components, n_listed, log_joint):
    if not _is_ours(packed):
        return None
    lanes = vector_lanes(tile.dtype)

    def implementation(packed, tile, n_features, scratch, components, n_listed, log_joint):
        means, scales = packed.means, packed.scales
        for i in range(n_listed):
            j = components[i]
            for lane in range(0, TILE, 2 * lanes):
                left = broadcast(packed.constants[j], lanes)
                right = left
                for f in range(n_features):
                    high = broadcast(means[0, j, f], lanes)
                    low = broadcast(means[1, j, f], lanes)
                    scale = broadcast(scales[j, f], lanes)
                    z = ((load(tile, f * TILE + lane, lanes) - high) - low) * scale
                    left = left - z * z
                    z = ((load(tile, f * TILE + lane + lanes, lanes) - high) - low) * scale
                    right = right - z * z
                store(left, log_joint, j * TILE + lane)
                store(right, log_joint, j * TILE + lane + lanes)

    return implementation


@intrinsic
def _add_differences(typingctx, tile, start, shares, shares_start, high, low, totals, place):
    """Add one feature's weighted differences from one centre, and their squares.

    Those go to ``totals[place]`` and ``totals[place + 1]``. Products and sums are float64.
    """
    integer = types.intp
    sig = types.void(tile, integer, shares, integer, tile.dtype, tile.dtype, totals, integer)
    lanes = vector_lanes(tile.dtype)

    def codegen(context, builder, signature, args):
        def pointer(i):
            data = data_pointer(context, builder, signature.args[i], args[i])
            return builder.gep(data, [args[i + 1]])

        x, g, out = pointer(0), pointer(2), pointer(6)
        vector = ir.VectorType(x.type.pointee, lanes)
        double = ir.VectorType(ir.DoubleType(), lanes)
        high, low = (splat(builder, value, lanes) for value in args[4:6])
        sums = squares = ir.Constant(double, [0.0] * lanes)
        for lane in range(0, TILE, lanes):
            value = load_at(builder, x, constant(lane), vector, VECTOR_BYTES)
            share = load_at(builder, g, constant(lane), vector, VECTOR_BYTES)
            difference = builder.fsub(builder.fsub(value, high), low)
            if vector != double:
                difference, share = (builder.fpext(v, double) for v in (difference, share))
            product = builder.fmul(share, difference)
            sums = builder.fadd(sums, product)
            squares = fma(builder, product, difference, squares)
        for i, total in enumerate((sums, squares)):
            address = builder.gep(out, [constant(i)])
            builder.store(builder.fadd(builder.load(address), sum_lanes(builder, total)), address)
        return context.get_dummy_value()

    return sig, codegen


@variant(accumulate_tiles)
def _accumulate(
    packed, centers, component, tiles, n_features, chosen, n_chosen, shares, stride, scratch, totals
):
    if not _is_ours(packed):
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
        start = component * (2 * n_features + 1)
        for i in range(n_chosen):
            shares_start = chosen[i] * stride + component * TILE
            totals[start] += sum_tile(shares, shares_start)
            for f in range(n_features):
                _add_differences(
                    tiles,
                    (chosen[i] * n_features + f) * TILE,
                    shares,
                    shares_start,
                    centers[0, component, f],
                    centers[1, component, f],
                    totals,
                    start + 1 + 2 * f,
                )

    return implementation


class DifferencesPass(GaussianPass):
    """Passes for one variance of each component and feature, or for fewer."""

    def _scales(self, precisions_cholesky):
        """Reciprocals of the standard deviations, of shape (n_components, n_features)."""
        shape = self._n_components, self._rows.shape[1]
        return np.broadcast_to(precisions_cholesky, shape)

    def _sum_up(self, scatter):
        """The scatter in the covariances' shape, from that of each component and feature."""
        raise NotImplementedError

    def _work(self, n_features):
        return 4 * n_features + 16

    def _size_of_totals(self, n_components, n_features):
        return n_components * (2 * n_features + 1)

    def _scratch_size(self, n_tiles):
        return (self._rows.shape[1] + 1) * TILE

    def _standard_parameters(self, means):
        return Parameters(np.zeros(len(means)), means, np.ones(means.shape))

    def _constants(self, parameters, scales):
        """Log-densities at the means."""
        with np.errstate(divide="ignore"):
            log_determinants = np.log(scales).sum(axis=1)
        d = scales.shape[1]
        return parameters.log_weights + log_determinants - 0.5 * d * math.log(2 * math.pi)

    def _pack(self, parameters):
        dtype = self._rows.dtype
        scales = self._scales(parameters.precisions_cholesky)
        constants, reference = relative(self._constants(parameters, scales), dtype)
        return DifferencesPacked(
            self._split(parameters.means),
            np.ascontiguousarray(scales * math.sqrt(0.5), dtype),
            constants,
            reference,
        )

    def _movement(self, old, new):
        before, scales = (self._scales(p.precisions_cholesky) for p in (old, new))
        shrink = np.minimum((scales / before).min(axis=1), 1.0)
        return shrink, np.sqrt((((new.means - old.means) * scales) ** 2).sum(axis=1))

    def _unpack(self, totals):
        totals = totals.reshape(self._n_components, -1)
        pairs = totals[:, 1:].reshape(self._n_components, -1, 2)
        return totals[:, 0].copy(), pairs[:, :, 0].copy(), self._sum_up(pairs[:, :, 1])


def relative(constants, dtype):
    """Constants relative to the greatest, in the rows' dtype, and the greatest."""
    reference = float(constants.max())
    if not math.isfinite(reference):
        reference = 0.0
    return (constants - reference).astype(dtype), reference
