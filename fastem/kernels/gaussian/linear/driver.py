"""Kernels for log-densities that are linear in a few terms of a row, at a matrix product's speed.

With rows and means relative to an origin, a normal density's logarithm is linear in the features
and their squares ("diag"), in the features and their sum of squares ("spherical"), or, but for what
all components have in common, in the features alone (one covariance for all). Its statistics are
sums of the same terms, so that each step is two products of small matrices for every tile.

This costs digits; see ``forms.py``.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.gaussian.differences import add_differences
from fastem.kernels.gaussian.driver import (
    accumulate_tiles,
    count_shares,
    log_joint_tile,
    prepare_tile,
)
from fastem.kernels.mixtures.lanes import assign, fill_column, load_weights
from fastem.kernels.mixtures.products import (
    add_counts,
    add_terms,
    add_terms_and_squares,
    linear_terms,
    linear_terms_of,
    squared_terms,
    squared_terms_of,
    sum_tile,
)
from fastem.kernels.mixtures.responsibilities import (
    DENSITY,
    last_likelihood,
    log_likelihood,
    normalize_tile,
)
from fastem.kernels.runtime.arrays import write_row
from fastem.kernels.runtime.compiling import inline, kernel, variant
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty_like, load_tile
from fastem.kernels.vectors.vector import broadcast, lanes_of, load, multiply_add, store

_SAMPLED = 32  # every so many tiles' shares are counted

# What the log-densities are linear in; or for the sums of products of features, without any.
FEATURES, FEATURES_AND_NORM, SQUARES, WHITENED, PRODUCTS = range(5)


class LinearPacked(NamedTuple):
    """The parameters as the kernels take them, in the rows' dtype.

    Parameters
    ----------
    form : int
        The terms: ``FEATURES``; ``FEATURES_AND_NORM``, that is the features and their sum of
        squares; ``SQUARES``, of scaled features plus offsets; ``WHITENED``, as
        ``FEATURES_AND_NORM`` but of ``features @ whitening``; ``PRODUCTS``, for statistics only.
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


@inline
def _add_norms(terms, n_features):
    """Write the sums of the squares of ``n_features`` terms behind these."""
    lanes = lanes_of(terms)
    for lane in range(0, TILE, lanes):
        total = broadcast(terms.dtype.type(0), lanes)
        for f in range(n_features):
            value = load(terms, f * TILE + lane, lanes)
            total = multiply_add(value, value, total)
        store(total, terms, n_features * TILE + lane)


@inline
def _whiten(packed, features, n_features, terms):
    """Write the whitened terms of a tile of features."""
    matrix, offsets, zeros = packed.whitening, packed.offsets, packed.zeros
    linear_terms(features, n_features, matrix, offsets, zeros, n_features, terms)
    _add_norms(terms, n_features)


@inline
def _log_joint(packed, terms, n_components, log_joint):
    """Write the log-densities under all components, for their terms in a tile."""
    factors, offsets, constants = packed.coefficients, packed.offsets, packed.constants
    n = factors.shape[1]
    if packed.form == SQUARES:
        squared_terms(terms, n, factors, offsets, constants, n_components, log_joint)
    else:
        linear_terms(terms, n, factors, offsets, constants, n_components, log_joint)


@kernel
def linear_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    sample_weight,
    labels,
    packed,
    n_components,
    hard,
    noise,
    counts,
    sums,
    objective,
    counted,
):
    """Each chunk's statistics: responsibilities, their products with the terms, log-densities.

    Parameters
    ----------
    chunk_rows, X, sample_weight, labels, hard, noise, objective, counted
        As for ``driver.em_pass``.
    packed : LinearPacked
    n_components : int
        For ``PRODUCTS`` the number of features.
    counts : float64 array of shape (n_chunks, n_components)
        Not counted for ``PRODUCTS``.
    sums : float64 array of shape (n_chunks, size_of_sums)
        Of the terms; of the features if the terms are whitened; of the features' products with
        all of them for ``PRODUCTS``.
    """
    n_rows, n_features = X.shape
    one = X.dtype.type(1)
    terms = aligned_empty_like((n_features + 1) * TILE, X)
    others = aligned_empty_like((n_features + 1) * TILE if packed.form >= WHITENED else 0, X)
    noisy = noise > -np.inf
    n_columns = n_components + noisy
    shares = aligned_empty_like(n_columns * TILE, X)
    weights = aligned_empty_like(TILE, X)
    density = aligned_empty_like(DENSITY, X)
    density[:] = 1.0
    # The thread's own: neighbouring chunks' share cache lines, which each write takes from others.
    chunk_counts, chunk_sums = np.empty(n_components + LANES), np.empty(sums.shape[1])
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        chunk_counts[:] = 0.0
        chunk_sums[:] = 0.0
        total_density = total_weight = total_noise = 0.0
        n_sampled = n_shares = 0
        weights[:] = one
        for first in range(start, stop, TILE):
            load_tile(X, first, one, packed.shift, terms)
            ahead = first + TILE
            ones = len(sample_weight) == 0 and first + TILE <= stop
            if not ones:
                load_weights(sample_weight, first, stop, weights)
            total_weight += sum_tile(weights, 0)
            if packed.form == PRODUCTS:
                for f in range(n_features):
                    for lane in range(TILE):
                        others[f * TILE + lane] = terms[f * TILE + lane] * weights[lane]
                add_terms(others, n_features, terms, n_features, chunk_sums, X, ahead)
                continue
            if packed.form == FEATURES_AND_NORM:
                _add_norms(terms, n_features)
            if len(labels):
                assign(labels, first, stop, weights, n_components, shares)
            else:
                if packed.form == WHITENED:
                    _whiten(packed, terms, n_features, others)
                evaluated = others if packed.form == WHITENED else terms
                _log_joint(packed, evaluated, n_components, shares)
                if noisy:
                    fill_column(noise, n_components, shares)
                normalize_tile(shares, n_columns, weights, hard, density)
                total_density += log_likelihood(weights, density, ones)
                if noisy:
                    total_noise += sum_tile(shares, n_components * TILE)
                if first // TILE % _SAMPLED == 0:
                    n_sampled += n_components * TILE
                    n_shares += count_shares(shares, n_components * TILE)
            add_counts(shares, n_components, chunk_counts)
            if packed.form == SQUARES:
                add_terms_and_squares(shares, n_components, terms, n_features, chunk_sums, X, ahead)
            else:
                n_terms = n_features + (packed.form == FEATURES_AND_NORM)
                add_terms(shares, n_components, terms, n_terms, chunk_sums, X, ahead)
        write_row(chunk_counts[:n_components], counts, chunk)
        write_row(chunk_sums, sums, chunk)
        objective[chunk, 0] = total_density + last_likelihood(density)
        objective[chunk, 1] = total_weight
        objective[chunk, 2] = total_noise
        counted[chunk, 0] = n_sampled
        counted[chunk, 1] = n_shares


# The driver's placeholders, for rows to be evaluated, and for passes that skip


@variant(prepare_tile, of=LinearPacked)
def _prepare(packed, tile, n_features, scratch):
    if packed.form == WHITENED:
        _whiten(packed, tile, n_features, scratch)
    elif packed.form == FEATURES_AND_NORM:
        _add_norms(tile, n_features)


@variant(log_joint_tile, of=LinearPacked)
def _log_joint_of(packed, tile, n_features, scratch, components, n_listed, log_joint):
    terms = scratch if packed.form == WHITENED else tile
    factors, offsets, constants = packed.coefficients, packed.offsets, packed.constants
    n = factors.shape[1]
    if packed.form == SQUARES:
        squared_terms_of(terms, n, factors, offsets, constants, n_listed, log_joint, components)
    else:
        linear_terms_of(terms, n, factors, offsets, constants, n_listed, log_joint, components)


variant(accumulate_tiles, of=LinearPacked)(add_differences)
