"""Passes that take every row's difference from every mean, for variances along the features.

No digits are lost however far the means are from the origin and from each other, and statistics are
about whatever centres the caller wants. ``linear/driver.py`` is faster.
"""

import math
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem.kernels.gaussian.base import GaussianComponents, relative
from fastem.kernels.gaussian.driver import accumulate_tiles, log_joint_tile, prepare_tile
from fastem.kernels.gaussian.exact import ExactKernel
from fastem.kernels.gaussian.sweep import split
from fastem.kernels.gaussian.whitening import centered, slots_of_zero
from fastem.kernels.runtime.compiling import variant
from fastem.kernels.vectors.emit import constant, data_pointer, fma, load_at, splat, sum_lanes
from fastem.kernels.vectors.machine import TILE, VECTOR_BYTES, vector_lanes
from fastem.kernels.vectors.vector import broadcast, load, store


class DifferencesPacked(NamedTuple):
    """The parameters as the kernels take them, in the rows' dtype.

    ``means[0] + means[1]`` are the means; ``scales`` (n_components, n_features) divide differences
    by sqrt(2) sigma; ``constants`` are log-densities at the means, relative to ``reference``.
    """

    means: np.ndarray
    scales: np.ndarray
    constants: np.ndarray
    reference: float

    sums_differences = True  # whether ``accumulate_tiles`` is that of this file


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
def add_differences(
    typingctx, tiles, n_features, chosen, n_chosen, centers, component, shares, stride, totals
):
    """Add a component's weighted differences from its centre, and their squares, over some tiles.

    Parameters are those of ``driver.accumulate_tiles``. A component's totals are its weight and,
    for every feature, these two sums. Products and sums are float64.
    """
    integer = types.intp
    sig = types.void(tiles, integer, chosen, integer, centers, integer, shares, integer, totals)
    dtype = tiles.dtype
    lanes = vector_lanes(dtype)

    def codegen(context, builder, signature, args):
        x, numbers, c, g, out = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 2, 4, 6, 8)
        )
        _, n_features, _, n_chosen, centers_value, component, _, stride, _ = args
        shape = context.make_array(signature.args[4])(context, builder, centers_value).shape
        c = builder.gep(c, [builder.mul(component, n_features)])
        low = builder.gep(c, [builder.mul(builder.extract_value(shape, 1), n_features)])
        g = builder.gep(g, [builder.mul(component, constant(TILE))])
        size = builder.add(builder.mul(constant(2), n_features), constant(1))
        out = builder.gep(out, [builder.mul(component, size)])
        vector = ir.VectorType(x.type.pointee, lanes)
        double = ir.VectorType(ir.DoubleType(), lanes)

        def widen(value):
            return value if vector == double else builder.fpext(value, double)

        def add_to(slot, value):
            builder.store(builder.fadd(builder.load(slot), value), slot)

        def over_tiles(body):
            """Call ``body(first row, shares)`` for every vector of the chosen tiles."""
            with cgutils.for_range(builder, n_chosen) as loop:
                t = builder.load(builder.gep(numbers, [loop.index]))
                row = builder.mul(t, builder.mul(n_features, constant(TILE)))
                own = builder.gep(g, [builder.mul(t, stride)])
                for lane in range(0, TILE, lanes):
                    share = load_at(builder, own, constant(lane), vector, VECTOR_BYTES)
                    body(builder.add(row, constant(lane)), lane, widen(share))

        def finish(slots, place):
            total = builder.load(slots[0])
            for slot in slots[1:]:
                total = builder.fadd(total, builder.load(slot))
            address = builder.gep(out, [place])
            total = builder.fadd(builder.load(address), sum_lanes(builder, total))
            builder.store(total, address)

        weight = slots_of_zero(builder, double, 2)
        over_tiles(lambda row, lane, share: add_to(weight[lane // lanes % 2], share))
        finish(weight, constant(0))
        with cgutils.for_range(builder, n_features) as loop:
            f = loop.index
            high, rest = (
                splat(builder, builder.load(builder.gep(p, [f])), lanes) for p in (c, low)
            )
            rest = None if vector == double else rest  # none in float64
            # Two of each, so that an addition needn't wait for that before.
            sums, squares = (slots_of_zero(builder, double, 2) for _ in range(2))

            def add_vector(row, lane, share):
                at = builder.add(row, builder.mul(f, constant(TILE)))
                value = load_at(builder, x, at, vector, VECTOR_BYTES)
                value = widen(centered(builder, value, high, rest))
                product = builder.fmul(share, value)
                which = lane // lanes % 2
                add_to(sums[which], product)
                slot = squares[which]
                builder.store(fma(builder, product, value, builder.load(slot)), slot)

            over_tiles(add_vector)
            place = builder.add(builder.mul(constant(2), f), constant(1))
            finish(sums, place)
            finish(squares, builder.add(place, constant(1)))
        return context.get_dummy_value()

    return sig, codegen


@variant(accumulate_tiles)
def _accumulate(
    packed, centers, component, tiles, n_features, chosen, n_chosen, shares, stride, scratch, totals
):
    if not getattr(packed.instance_class, "sums_differences", False):
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
        add_differences(
            tiles, n_features, chosen, n_chosen, centers, component, shares, stride, totals
        )

    return implementation


class DifferencesKernel(ExactKernel):
    """The kernel for one variance of each component and feature, or for fewer.

    Parameters
    ----------
    as_column : bool
        Whether factors are numbers of the components rather than of the features.
    sum_up : callable
        Makes the scatter in the covariances' shape of that of each component and feature.
    """

    def __init__(self, as_column, sum_up):
        self._as_column = as_column
        self._sum_up = sum_up

    def scales(self, components):
        """Reciprocals of the standard deviations, of shape (n_components, n_features)."""
        factors = components.precisions_cholesky
        if self._as_column and np.ndim(factors) == 1:
            factors = factors[:, np.newaxis]
        return np.broadcast_to(factors, components.means.shape)

    def work(self, n_features):
        return 4 * n_features + 16

    def size_of_totals(self, n_components, n_features):
        return n_components * (2 * n_features + 1)

    def scratch_size(self, n_features, n_tiles):
        return (n_features + 1) * TILE

    def standard(self, means):
        return GaussianComponents(np.zeros(len(means)), means, np.ones(means.shape))

    def peaks(self, components):
        return peaks_of_scales(components.log_weights, self.scales(components))

    def pack(self, components, dtype):
        scales = self.scales(components)
        constants, reference = relative(self.peaks(components), dtype)
        return DifferencesPacked(
            split(components.means, dtype),
            np.ascontiguousarray(scales * math.sqrt(0.5), dtype),
            constants,
            reference,
        )

    def movement(self, old, new):
        before, scales = self.scales(old), self.scales(new)
        shrink = np.minimum((scales / before).min(axis=1), 1.0)
        return shrink, np.sqrt((((new.means - old.means) * scales) ** 2).sum(axis=1))

    def unpack(self, totals, n_components, n_features):
        totals = totals.reshape(n_components, -1)
        pairs = totals[:, 1:].reshape(n_components, -1, 2)
        return totals[:, 0].copy(), pairs[:, :, 0].copy(), self._sum_up(pairs[:, :, 1])


def peaks_of_scales(log_weights, scales):
    """Log-densities at the means, for reciprocals of the standard deviations."""
    with np.errstate(divide="ignore"):
        log_determinants = np.log(scales).sum(axis=1)
    d = scales.shape[1]
    return log_weights + log_determinants - 0.5 * d * math.log(2 * math.pi)
