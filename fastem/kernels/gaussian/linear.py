"""A pass for log-densities that are linear in a few terms of a row, at a matrix product's speed.

With rows and means relative to an origin, a normal density's logarithm is linear in the features
and their squares ("diag"), in the features and their sum of squares ("spherical"), or, but for what
all components have in common, in the features alone (one covariance for all). Its statistics are
sums of the same terms, so that each step is two products of small matrices for every tile.

What this costs is digits: a variance is the difference of a sum of squares about the origin and the
square of the mean's distance from there, and loses as many as that ratio has; so does the sum of
squares in a density. While the means are near enough, that is less than the last digits vary by
anyway; otherwise ``differences.py`` does the pass.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import types

from fastem.kernels.arrays import read_only
from fastem.kernels.compiling import inline, kernel, variant
from fastem.kernels.gaussian.differences import DifferencesPass, relative
from fastem.kernels.gaussian.driver import log_joint_tile, prepare_tile
from fastem.kernels.gaussian.products import (
    add_terms,
    add_terms_and_squares,
    linear_terms,
    pad_components,
    size_of_sums,
    squared_terms,
    sum_tile,
    unpack_sums,
    weighted_sum,
)
from fastem.kernels.parallel import next_chunk, run
from fastem.kernels.responsibilities import normalize_tile
from fastem.kernels.simd import LANES, TILE, broadcast, load, multiply_add, store, vector_lanes
from fastem.kernels.tiles import aligned_empty_like, load_tile

# What the log-densities are linear in.
FEATURES, FEATURES_AND_NORM, SQUARES, WHITENED = range(4)


class LinearPacked(NamedTuple):
    """The parameters as the kernels take them, in the rows' dtype.

    Parameters
    ----------
    form : int
        The terms: ``FEATURES``; ``FEATURES_AND_NORM``, that is the features and their sum of
        squares; ``SQUARES``, of scaled features plus offsets; ``WHITENED``, as
        ``FEATURES_AND_NORM`` but of ``features @ whitening``.
    shift : ndarray of shape (n_features + LANES,)
        The origin, negated.
    coefficients, offsets, constants : ndarray
        As ``products.py`` takes them; ``offsets`` is empty unless the form is ``SQUARES``.
    whitening, zeros : ndarray
        The transposed matrix, padded as the coefficients are, and as many zeros as it has rows;
        empty unless the form is ``WHITENED``.
    reference : float
        To be added to all log-densities.
    """

    form: int
    shift: np.ndarray
    coefficients: np.ndarray
    offsets: np.ndarray
    constants: np.ndarray
    whitening: np.ndarray
    zeros: np.ndarray
    reference: float


def _add_norms(terms, n_features):
    """Write the sums of the squares of ``n_features`` terms behind these."""
    raise NotImplementedError("for kernels only")


@variant(_add_norms)
def _norms(terms, n_features):
    lanes = vector_lanes(terms.dtype)
    zero = np.float32(0) if terms.dtype == types.float32 else np.float64(0)

    def implementation(terms, n_features):
        for lane in range(0, TILE, lanes):
            total = broadcast(zero, lanes)
            for f in range(n_features):
                value = load(terms, f * TILE + lane, lanes)
                total = multiply_add(value, value, total)
            store(total, terms, n_features * TILE + lane)

    return implementation


@inline
def _whiten(packed, features, n_features, terms):
    """Write the whitened terms of a tile of features."""
    linear_terms(
        features,
        n_features,
        packed.whitening,
        packed.offsets,
        packed.zeros,
        n_features,
        terms,
    )
    _add_norms(terms, n_features)


@inline
def _log_joint(packed, terms, n_features, n_components, log_joint):
    if packed.form == SQUARES:
        squared_terms(
            terms,
            n_features,
            packed.coefficients,
            packed.offsets,
            packed.constants,
            n_components,
            log_joint,
        )
    else:
        linear_terms(
            terms,
            packed.coefficients.shape[1],
            packed.coefficients,
            packed.offsets,
            packed.constants,
            n_components,
            log_joint,
        )


@kernel
def linear_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    sample_weight,
    packed,
    n_components,
    hard,
    counts,
    sums,
    objective,
):
    """Each chunk's statistics: responsibilities, their products with the terms, log-densities.

    As ``driver.em_pass``. ``counts`` is (n_chunks, n_components), ``sums`` (n_chunks,
    size_of_sums): of the terms, or of the features if they are whitened.
    """
    n_rows, n_features = X.shape
    one = X.dtype.type(1)
    terms = aligned_empty_like((n_features + 1) * TILE, X)
    whitened = aligned_empty_like((n_features + 1) * TILE if packed.form == WHITENED else 0, X)
    shares = aligned_empty_like(n_components * TILE, X)
    weights = aligned_empty_like(TILE, X)
    density = aligned_empty_like(TILE, X)
    numbers = np.empty(TILE, np.int32)
    weights[:] = one
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        chunk_counts, chunk_sums = counts[chunk], sums[chunk]
        chunk_counts[:] = 0.0
        chunk_sums[:] = 0.0
        total_density = total_weight = 0.0
        for first in range(start, stop, TILE):
            load_tile(X, first, one, packed.shift, numbers, terms)
            if packed.form == FEATURES_AND_NORM:
                _add_norms(terms, n_features)
            if packed.form == WHITENED:
                _whiten(packed, terms, n_features, whitened)
            evaluated = whitened if packed.form == WHITENED else terms
            _log_joint(packed, evaluated, n_features, n_components, shares)
            weighted = len(sample_weight) or first + TILE > stop
            if weighted:
                for lane in range(TILE):
                    weight = 0.0
                    if first + lane < stop:
                        weight = sample_weight[first + lane] if len(sample_weight) else 1.0
                    weights[lane] = weight
            normalize_tile(shares, n_components, weights, hard, density)
            total_density += weighted_sum(weights, density)
            total_weight += sum_tile(weights, 0)
            for component in range(n_components):
                chunk_counts[component] += sum_tile(shares, component * TILE)
            if packed.form == SQUARES:
                add_terms_and_squares(shares, n_components, terms, n_features, chunk_sums)
            else:
                n_terms = n_features + (packed.form == FEATURES_AND_NORM)
                add_terms(shares, n_components, terms, n_terms, chunk_sums)
            if weighted:
                weights[:] = one
        objective[chunk, 0] = total_density
        objective[chunk, 1] = total_weight


# The driver's placeholders, for rows to be evaluated


def _is_linear(packed):
    return isinstance(packed, types.NamedTuple) and packed.instance_class is LinearPacked


@variant(prepare_tile)
def _prepare(packed, tile, n_features, scratch):
    if not _is_linear(packed):
        return None

    def implementation(packed, tile, n_features, scratch):
        for f in range(n_features):
            for lane in range(TILE):
                tile[f * TILE + lane] += packed.shift[f]
        if packed.form == WHITENED:
            _whiten(packed, tile, n_features, scratch)
        else:
            for i in range(n_features * TILE):
                scratch[i] = tile[i]
            _add_norms(scratch, n_features)

    return implementation


@variant(log_joint_tile)
def _linear_log_joint(packed, tile, n_features, scratch, components, n_listed, log_joint):
    if not _is_linear(packed):
        return None

    def implementation(packed, tile, n_features, scratch, components, n_listed, log_joint):
        _log_joint(packed, scratch, n_features, len(components), log_joint)

    return implementation


class Limits(NamedTuple):
    """How much larger than what counts the terms may be, for losses near 1e-5 or 1e-11.

    Parameters
    ----------
    square : float
        Squared distance of a mean from the origin along a feature, over the variance.
    norm : float
        The same for a mean over all features, per feature.
    """

    square: float
    norm: float


_LIMITS = {np.dtype(np.float32): Limits(400.0, 50.0), np.dtype(np.float64): Limits(1e5, 1e5)}

# Squares of reciprocals in this range, and of what they scale, are normal numbers in float32.
_SMALLEST, _LARGEST = 1e-12, 1e12


class LinearPass(DifferencesPass):
    """Passes that are linear in few terms as long as that is exact enough.

    A subclass writes ``_linear`` and ``_from_terms``.
    """

    def __init__(self, X, sample_weight, n_components):
        super().__init__(X, sample_weight, n_components)
        self._limits = _LIMITS[X.dtype]

    def step(self, parameters, centers=None, hard=False, skip=True):
        if centers is None:
            with np.errstate(all="ignore"):  # whatever comes of extremes is not finite
                statistics = self._linear_step(parameters, hard)
            if statistics is not None and math.isfinite(statistics.objective):
                return statistics
        return self._exact_step(parameters, centers, hard, skip)

    def evaluate(self, parameters, **outputs):
        packed = self._linear_to_evaluate(parameters)
        if packed is None:
            self._exact_evaluate(parameters, **outputs)
        else:
            self._evaluate(packed, **outputs)

    def _exact_step(self, parameters, centers, hard, skip):
        return super().step(parameters, centers, hard, skip)

    def _exact_evaluate(self, parameters, **outputs):
        super().evaluate(parameters, **outputs)

    def _linear_step(self, parameters, hard):
        origin = self._origin(parameters)
        packed = self._linear(parameters, origin)
        if packed is None:
            return None
        k, n_chunks = self._n_components, self._n_chunks
        squares = packed.form == SQUARES
        n_terms = self._rows.shape[1] + (packed.form == FEATURES_AND_NORM)
        counts = np.empty((n_chunks, k))
        sums = np.empty((n_chunks, size_of_sums(k, n_terms, squares)))
        objective = np.empty((n_chunks, 2))
        run(
            linear_pass,
            n_chunks,
            n_chunks,
            self._chunk_rows,
            self._rows,
            self._weight,
            packed,
            k,
            hard,
            counts,
            sums,
            objective,
        )
        log_density, weight = objective.sum(axis=0)
        counts = counts.sum(axis=0)
        sums = unpack_sums(sums.sum(axis=0), k, n_terms, squares)
        means = parameters.means - origin
        objective = log_density + packed.reference * weight
        return self._from_terms(parameters, packed, objective, counts, sums, means)

    def _origin(self, parameters):
        """The mixture's mean, as the rows' dtype holds it."""
        weights = np.exp(parameters.log_weights)
        origin = weights @ parameters.means / weights.sum()
        return origin.astype(self._rows.dtype).astype(np.float64)

    def _linear(self, parameters, origin):
        """The parameters packed for a step, or None where too many digits would be lost."""
        raise NotImplementedError

    def _from_terms(self, parameters, packed, objective, counts, sums, means):
        """The statistics from the sums of the terms and the means, relative to the origin."""
        raise NotImplementedError

    def _linear_to_evaluate(self, parameters):
        """The parameters packed for log-densities, or None."""
        with np.errstate(all="ignore"):
            return self._linear(parameters, self._origin(parameters))

    def _in_range(self, scales):
        return bool((scales > _SMALLEST).all() and (scales < _LARGEST).all())

    def _packed(self, form, origin, coefficients, constants, offsets=None, whitening=None):
        dtype = self._rows.dtype
        shift = np.zeros(len(origin) + LANES, dtype)
        shift[: len(origin)] = -origin
        constants, reference = relative(constants, dtype)

        def padded(values):
            return read_only(pad_components(np.ascontiguousarray(values, dtype)))

        nothing = np.empty((0, 0))
        whitening = padded(nothing if whitening is None else whitening)
        return LinearPacked(
            form,
            read_only(shift),
            padded(coefficients),
            padded(nothing if offsets is None else offsets),
            padded(constants),
            whitening,
            read_only(np.zeros(len(whitening), dtype)),
            reference,
        )


def about_means(counts, sums, squares, means):
    """Sums of differences from the means and of their squares, from those from the origin.

    All of shape (n_components, n_features), but for ``counts``.
    """
    differences = sums - counts[:, np.newaxis] * means
    return differences, np.maximum(squares - means * (sums + differences), 0.0)
