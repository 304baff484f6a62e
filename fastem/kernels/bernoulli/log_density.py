"""Log-densities of rows of zeros and ones, for Python and for a user's compiled code."""

import math

import numpy as np

from fastem.kernels.bernoulli.base import BernoulliComponents
from fastem.kernels.bernoulli.bits import first_other, packed_bits
from fastem.kernels.bernoulli.dense import DensePass
from fastem.kernels.bernoulli.tables import GROUP
from fastem.kernels.runtime.arrays import large_empty, read_only
from fastem.kernels.runtime.chunks import round_up
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.inputs import compiled_as
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.vector import broadcast, load, store


@kernel
def check_probabilities(n_features, probabilities):
    """Refuse probabilities that don't fit the rows or are none."""
    if n_features != probabilities.shape[1]:
        raise ValueError("X and probabilities must have the same number of features")
    if n_features == 0 or len(probabilities) == 0:
        raise ValueError("There must be at least one feature and one component")
    for j in range(len(probabilities)):
        for f in range(n_features):
            if not 0.0 <= probabilities[j, f] <= 1.0:
                raise ValueError("probabilities must be in the range [0, 1]")


def as_arrays(X, probabilities):
    """What Python passes: any real numbers, and probabilities as the kernels take them."""
    X, probabilities = np.asarray(X), np.asarray(probabilities)
    for name, array in (("X", X), ("probabilities", probabilities)):
        if array.ndim != 2 or array.dtype.kind not in "biuf":
            raise ValueError(f"{name} must be a 2-D array of real numbers")
    probabilities = read_only(np.ascontiguousarray(probabilities, np.float64))
    check_probabilities(X.shape[1], probabilities)
    return X, probabilities


def check_rows(X):
    """Refuse rows of Python's with other values than zeros and ones, as NaN is."""
    if first_other(X) is not None or (X.dtype.kind == "f" and np.isnan(X.max(initial=0))):
        raise ValueError("X must hold zeros and ones only")


def bernoulli_log_density(X: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Log-density of every row of X under components of independent Bernoulli features.

    Callable from Python, and from functions under ``@njit``, where it takes 2-D arrays and runs on
    the calling thread. Many rows take several times longer there.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
        Zeros and ones (or booleans).
    probabilities : array-like of shape (n_components, n_features)
        Probabilities of ones, between 0 and 1.

    Returns
    -------
    log_density : ndarray of shape (n_rows, n_components), float64
        -inf where a probability of exactly 0 or 1 forbids the row.

    Raises
    ------
    ValueError
        If an argument is not a 2-D array of real numbers, there is no feature or component, shapes
        don't fit, or a value is out of range.
    """
    X, probabilities = as_arrays(X, probabilities)
    check_rows(X)
    n_components = len(probabilities)
    log_density = np.empty((len(X), n_components))
    bernoulli = DensePass(packed_bits(X, 0.5), X.shape[1], None, n_components)
    bernoulli.evaluate(
        BernoulliComponents.of(np.ones(n_components), probabilities), log_joint=log_density
    )
    return log_density


@kernel
def _write(X, probabilities, log_density):
    # Without tables: those would take longer than a few rows, and to compile, too.
    n_rows, n_features = X.shape
    n_components = len(probabilities)
    whole = n_components // GROUP * GROUP
    width = round_up(n_components, GROUP)
    logs = np.zeros((n_features, 2, width))
    for j in range(n_components):
        for f in range(n_features):
            logs[f, 0, j] = math.log1p(-probabilities[j, f])
            logs[f, 1, j] = math.log(probabilities[j, f])
    places = np.empty(n_features, np.int64)
    edge = np.empty(GROUP)
    for row in range(n_rows):
        for f in range(n_features):
            value = X[row, f]
            if value != 0 and value != 1:
                raise ValueError("X must hold zeros and ones only")
            places[f] = (2 * f + (value != 0)) * width
        for group in range(0, width, GROUP):
            total = broadcast(0.0, GROUP)
            for place in places:
                total = total + load(logs, place + group, GROUP)
            if group < whole:
                store(total, log_density, row * n_components + group)
            else:
                store(total, edge, 0)
                for j in range(whole, n_components):
                    log_density[row, j] = edge[j - whole]


@kernel
def bernoulli_rows(tickets, n_chunks, chunk_rows, X, probabilities, log_density):
    """Write the log-densities of each chunk's rows."""
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        some = slice(chunk * chunk_rows, (chunk + 1) * chunk_rows)
        _write(X[some], probabilities, log_density[some])


@kernel
def _serial(X, probabilities):
    """:func:`bernoulli_log_density` on the calling thread."""
    check_probabilities(X.shape[1], probabilities)
    log_density = large_empty((len(X), len(probabilities)), np.float64)
    _write(X, probabilities, log_density)
    return log_density


compiled_as(bernoulli_log_density, _serial, converted=False)
