"""Passes that take every row's difference from every mean, for variances along the features.

No digits are lost however far the means are from the origin and from each other, and statistics are
about whatever centres the caller wants. ``linear/driver.py`` is faster.
"""

import math
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.gaussian.base import GaussianComponents, relative
from fastem.kernels.gaussian.batch import ChosenTiles, centered
from fastem.kernels.gaussian.driver import accumulate_tiles, log_joint_tile, prepare_tile
from fastem.kernels.gaussian.exact import ExactKernel
from fastem.kernels.gaussian.sweep import split
from fastem.kernels.runtime.compiling import inline, variant
from fastem.kernels.vectors.emit import Emitter, sum_lanes
from fastem.kernels.vectors.machine import TILE
from fastem.kernels.vectors.vector import broadcast, lanes_of, load, store


class DifferencesPacked(NamedTuple):
    """The parameters as the kernels take them, in the rows' dtype.

    ``means[0] + means[1]`` are the means; ``scales`` (n_components, n_features) divide differences
    by sqrt(2) sigma; ``constants`` are log-densities at the means, relative to ``reference``.
    """

    means: np.ndarray
    scales: np.ndarray
    constants: np.ndarray
    reference: float


@variant(prepare_tile, of=DifferencesPacked)
def _prepare(packed, tile, n_features, scratch):
    pass


@inline
def scaled_norms(tile, n_features, means, component, scales, peak, log_joint):
    """``log_joint[component * TILE + lane] = peak - |(x - mean) * scale|^2``.

    Parameters
    ----------
    tile, n_features, means, component, peak, log_joint
        As for :func:`fastem.kernels.gaussian.whitening.whitened_norms`.
    scales : array of shape (n_components, n_features)
        1 / (sqrt(2) sigma).
    """
    lanes = lanes_of(tile)
    for lane in range(0, TILE, 2 * lanes):
        left = broadcast(peak, lanes)
        right = left
        for f in range(n_features):
            high = broadcast(means[0, component, f], lanes)
            low = broadcast(means[1, component, f], lanes)
            scale = broadcast(scales[component, f], lanes)
            z = ((load(tile, f * TILE + lane, lanes) - high) - low) * scale
            left = left - z * z
            z = ((load(tile, f * TILE + lane + lanes, lanes) - high) - low) * scale
            right = right - z * z
        store(left, log_joint, component * TILE + lane)
        store(right, log_joint, component * TILE + lane + lanes)


@variant(log_joint_tile, of=DifferencesPacked)
def _log_joint(packed, tile, n_features, scratch, components, n_listed, log_joint):
    for i in range(n_listed):
        j = components[i]
        peak = packed.constants[j]
        scaled_norms(tile, n_features, packed.means, j, packed.scales, peak, log_joint)


@intrinsic
def _add_differences(
    typingctx, tiles, n_features, chosen, n_chosen, centers, component, shares, stride, totals
):
    """As :func:`add_differences`. In registers: two sums of each kind, which Python can't name."""
    integer = types.intp
    sig = types.void(tiles, integer, chosen, integer, centers, integer, shares, integer, totals)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        tiles = ChosenTiles(e)
        (totals,) = e.pointers(8)
        size = e.plus(e.times(2, tiles.n_features), 1)
        totals = e.row(totals, tiles.component, size)
        lanes = tiles.vector.count
        double = ir.VectorType(ir.DoubleType(), lanes)

        def widen(value):
            return value if value.type == double else builder.fpext(value, double)

        @contextmanager
        def vectors():
            """Around what is emitted for a tile: its address, and its vectors of shares."""
            with tiles.each() as (_, tile, shares):
                yield (
                    tile,
                    [
                        (lane, widen(e.lanes(shares, 0, lane, tiles.vector)))
                        for lane in range(0, TILE, lanes)
                    ],
                )

        def finish(slots, place):
            total = builder.load(slots[0])
            for slot in slots[1:]:
                total = builder.fadd(total, builder.load(slot))
            e.add(e.at(totals, place), sum_lanes(builder, total))

        # Two of each, so that an addition needn't wait for that before.
        weight = e.zeros(double, 2)
        with vectors() as (_, shares):
            for i, (_, share) in enumerate(shares):
                e.add(weight[i % 2], share)
        finish(weight, 0)
        with e.loop(0, tiles.n_features) as f:
            center = tiles.center.of(f)
            sums, squares = e.zeros(double, 2), e.zeros(double, 2)
            with vectors() as (tile, shares):
                for i, (lane, share) in enumerate(shares):
                    value = centered(builder, e.lanes(tile, f, lane, tiles.vector), center)
                    value = widen(value)
                    product = builder.fmul(share, value)
                    e.add(sums[i % 2], product)
                    e.add_product(squares[i % 2], product, value)
            place = e.plus(e.times(2, f), 1)
            finish(sums, place)
            finish(squares, e.plus(place, 1))
        return e.nothing()

    return sig, codegen


@variant(accumulate_tiles, of=DifferencesPacked)
def add_differences(
    packed, centers, component, tiles, n_features, chosen, n_chosen, shares, stride, scratch, totals
):
    """Add a component's weighted differences from its centre, and their squares, over some tiles.

    A component's totals are its weight and, for every feature, these two sums. Products and sums
    are float64.
    """
    _add_differences(
        tiles, n_features, chosen, n_chosen, centers, component, shares, stride, totals
    )


class DifferencesKernel(ExactKernel):
    """The kernel for one variance of each component and feature, or for fewer.

    Parameters
    ----------
    as_column : bool
        Whether factors are numbers of the components rather than of the features.
    sum_up : callable
        Makes the scatter in the covariances' shape of that of each component and feature; also an
        attribute.
    """

    def __init__(self, as_column, sum_up):
        self._as_column = as_column
        self.sum_up = sum_up

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
        return totals[:, 0].copy(), pairs[:, :, 0].copy(), self.sum_up(pairs[:, :, 1])


def peaks_of_scales(log_weights, scales):
    """Log-densities at the means, for reciprocals of the standard deviations."""
    with np.errstate(divide="ignore"):
        log_determinants = np.log(scales).sum(axis=1)
    d = scales.shape[1]
    return log_weights + log_determinants - 0.5 * d * math.log(2 * math.pi)


def sum_components(scatter):
    """Scatter added up over the components, for one covariance of all."""
    return scatter.sum(axis=0)
