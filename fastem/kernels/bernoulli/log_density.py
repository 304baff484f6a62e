"""Log-densities of rows of zeros and ones, for Python and for a user's compiled code."""

import math

import numpy as np

from fastem.kernels.bernoulli.base import BernoulliComponents
from fastem.kernels.bernoulli.bits import first_other, packed_bits
from fastem.kernels.bernoulli.dense import DensePass
from fastem.kernels.runtime.arrays import large_empty
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.inputs import compiled_as
from fastem.kernels.runtime.parallel import next_chunk


@kernel
def check_probabilities(X, probabilities):
    """Refuse probabilities that don't fit the rows or are none."""
    if X.shape[1] != probabilities.shape[1]:
        raise ValueError("X and probabilities must have the same number of features")
    if X.shape[1] == 0 or len(probabilities) == 0:
        raise ValueError("There must be at least one feature and one component")
    for j in range(len(probabilities)):
        for f in range(X.shape[1]):
            if not 0.0 <= probabilities[j, f] <= 1.0:
                raise ValueError("probabilities must be in the range [0, 1]")


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
        If shapes don't fit or a value is out of range.
    """
    X, probabilities = np.asarray(X), np.asarray(probabilities)
    for name, array in (("X", X), ("probabilities", probabilities)):
        if array.ndim != 2 or array.dtype.kind not in "biuf":
            raise ValueError(f"{name} must be a 2-D array of real numbers")
    probabilities = np.ascontiguousarray(probabilities, np.float64)
    check_probabilities(X, probabilities)
    if first_other(X) is not None:
        raise ValueError("X must hold zeros and ones only")
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
    logs = np.empty((n_features, 2, n_components))
    for j in range(n_components):
        for f in range(n_features):
            logs[f, 0, j] = math.log1p(-probabilities[j, f])
            logs[f, 1, j] = math.log(probabilities[j, f])
    log_density[:] = 0.0
    for row in range(n_rows):
        for f in range(n_features):
            if X[row, f] != 0 and X[row, f] != 1:
                raise ValueError("X must hold zeros and ones only")
            value = np.intp(X[row, f])
            for j in range(n_components):
                log_density[row, j] += logs[f, value, j]


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
    check_probabilities(X, probabilities)
    log_density = large_empty((len(X), len(probabilities)), np.float64)
    _write(X, probabilities, log_density)
    return log_density


compiled_as(bernoulli_log_density, _serial, converted=False)
