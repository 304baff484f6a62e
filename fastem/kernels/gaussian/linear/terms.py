"""Runs ``driver.py``'s kernel: packs what is linear in a row's terms, and sums these terms up."""

import math

import numpy as np

from fastem.kernels.gaussian.base import relative, relative_noise
from fastem.kernels.gaussian.linear.driver import (
    FEATURES_AND_NORM,
    PRODUCTS,
    SQUARES,
    LinearPacked,
    linear_pass,
)
from fastem.kernels.mixtures.products import pad_components, size_of_sums, unpack_sums
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.parallel import run
from fastem.kernels.vectors.machine import LANES


def pack_terms(dtype, terms, origin, coefficients, constants, *, offsets=None, whitening=None):
    """Components as :class:`LinearPacked`, whose fields the parameters are named after.

    Parameters
    ----------
    dtype : dtype
        The rows'.
    terms : int
        One of ``driver.py``'s forms.
    origin : ndarray of shape (n_features,), float64
    constants : ndarray of shape (n_components,)
        Log-densities where all terms are zero.
    """
    shift = np.zeros(len(origin) + LANES, dtype)
    shift[: len(origin)] = -origin
    constants, reference = relative(constants, dtype)

    def padded(values):
        return read_only(pad_components(np.ascontiguousarray(values, dtype)))

    nothing = np.empty((0, 0))
    whitening = padded(nothing if whitening is None else whitening)
    return LinearPacked(
        terms,
        read_only(shift),
        padded(coefficients),
        padded(nothing if offsets is None else offsets),
        padded(constants),
        whitening,
        read_only(np.zeros(len(whitening), dtype)),
        reference,
    )


def sum_terms(sweep, packed, n_components, hard=False, labels=(), log_noise=-math.inf):
    """Log-density, weight, counts, sums of terms and noise of a pass over a sweep's rows."""
    squares = packed.form == SQUARES
    n_terms = sweep.n_features + (packed.form == FEATURES_AND_NORM)
    n_chunks = sweep.n_chunks
    counts = np.empty((n_chunks, n_components))
    sums = np.empty((n_chunks, size_of_sums(n_components, n_terms, squares)))
    objective = np.empty((n_chunks, 3))
    counted = np.zeros((n_chunks, 2), np.int64)
    run(
        linear_pass,
        n_chunks,
        sweep.chunk_rows,
        sweep.rows,
        sweep.weight,
        read_only(np.ascontiguousarray(labels, np.int32)),
        packed,
        n_components,
        hard,
        relative_noise(log_noise, packed, sweep.dtype),
        counts,
        sums,
        objective,
        counted,
    )
    if counted.any():
        sweep.visitor.learn_from_all(counted.sum(axis=0))
    log_density, weight, noise = objective.sum(axis=0)
    return (
        log_density + packed.reference * weight,
        weight,
        counts.sum(axis=0),
        unpack_sums(sums.sum(axis=0), n_components, n_terms, squares),
        float(noise),
    )


def sum_products(sweep, origin):
    """The rows' weight and sums of products of features, relative to an origin."""
    packed = pack_terms(sweep.dtype, PRODUCTS, origin, np.zeros((1, 1)), np.zeros(1))
    _, weight, _, products, _ = sum_terms(sweep, packed, len(origin))
    return weight, products[0]
