"""Log-densities of rows under normal distributions, for Python and for a user's compiled code."""

import math

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload, register_jitable

from fastem.kernels.gaussian import PASSES, GaussianComponents
from fastem.kernels.gaussian.differences import scaled_norms
from fastem.kernels.gaussian.sweep import split_into
from fastem.kernels.gaussian.whitening import pack_triangle, packed_size, whitened_norms
from fastem.kernels.mixtures.lanes import write_rows
from fastem.kernels.runtime.arrays import large_empty, read_only
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.inputs import check_numbers, convert, real_rows
from fastem.kernels.runtime.linking import linked
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty_like, load_tile

_SHAPES = {
    "full": "(n_components, n_features, n_features)",
    "tied": "(n_features, n_features)",
    "diag": "(n_components, n_features)",
    "spherical": "(n_components,)",
    "tied_diag": "(n_features,)",
    "tied_spherical": "()",
}
_NOT_POSITIVE = "The diagonal of precisions_cholesky must be positive"
_NOTHING = "There must be at least one feature and one component"
_MISFIT = "The shapes of means and precisions_cholesky don't fit X and covariance_type"


def as_arrays(X, means, precisions_cholesky, covariance_type):
    """Rows, means and factors as Python passes them, of shapes that fit, as the kernels take them.

    What is below the diagonal of matrices becomes zero.
    """
    if covariance_type not in _SHAPES:
        raise ValueError(f"covariance_type must be one of {list(_SHAPES)}, got {covariance_type!r}")
    X, means = real_rows(X, "X"), real_rows(means, "means")
    dtype = np.float32 if X.dtype == np.float32 else np.float64
    X, means = np.ascontiguousarray(X, dtype), np.ascontiguousarray(means, np.float64)
    factors = np.array(precisions_cholesky, np.float64)
    k, d = means.shape
    shape = {
        "full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,), "tied_diag": (d,),
        "tied_spherical": (),
    }[covariance_type]  # fmt: skip
    if X.shape[1] != d:
        raise ValueError("X and means must have the same number of features")
    if factors.shape != shape:
        raise ValueError(
            f"precisions_cholesky must have the shape {_SHAPES[covariance_type]} = {shape}, got "
            f"{factors.shape}"
        )
    if d == 0 or k == 0:
        raise ValueError(_NOTHING)
    diagonal = factors
    if covariance_type in ("full", "tied"):
        factors = np.triu(factors)
        diagonal = np.diagonal(factors, axis1=-2, axis2=-1)
    if not (diagonal > 0).all():
        raise ValueError(_NOT_POSITIVE)
    return read_only(X), means, factors


def gaussian_log_density(
    X: np.ndarray,
    means: np.ndarray,
    precisions_cholesky: np.ndarray,
    covariance_type: str = "full",
) -> np.ndarray:
    """Log-density of every row of X under normal distributions.

    Rows are centred before they are scaled, so that no digits are lost far from the origin.
    Callable from Python, and from functions under ``@njit``, where it takes arrays and runs on the
    calling thread.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
    means : array-like of shape (n_components, n_features)
    precisions_cholesky : array-like
        As a Gaussian mixture has them. "full": (n_components, n_features, n_features), upper
        triangular matrices P with ``P @ P.T`` the inverse of the covariance; what is below the
        diagonal is not used. "tied": one such matrix. "diag": (n_components, n_features),
        "spherical": (n_components,), "tied_diag": (n_features,) and "tied_spherical": (),
        reciprocals of standard deviations.
    covariance_type : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}

    Returns
    -------
    log_density : ndarray of shape (n_rows, n_components)
        float32 if X is, else float64.

    Raises
    ------
    ValueError
        If X or means is not a 2-D array of real numbers, there is no feature or component, shapes
        don't fit, the type is unknown, or a factor's diagonal, or the reciprocal of a standard
        deviation, is not positive.
    """
    X, means, factors = as_arrays(X, means, precisions_cholesky, covariance_type)
    k = len(means)
    log_density = np.empty((len(X), k), X.dtype)
    if len(X) == 0:
        return log_density
    parameters = GaussianComponents(np.zeros(k), means, factors)
    PASSES[covariance_type](X, None, k).evaluate(parameters, log_joint=log_density)
    return log_density


# The same for compiled code: one tile after the other, on the calling thread


@kernel
def _check(X, means, matrices, scales):
    """Refuse means of other features than the rows', or factors whose shape doesn't fit."""
    k, d = means.shape
    if X.shape[1] != d:
        raise ValueError(_MISFIT)
    if means.size == 0:
        raise ValueError(_NOTHING)
    if matrices.shape != (k, d, d) and scales.shape != (k, d):
        raise ValueError(_MISFIT)


@kernel
def _constant(diagonal):
    """The log-density at the mean, by the diagonal of the component's factor."""
    total = -0.5 * len(diagonal) * math.log(2 * math.pi)
    for value in diagonal:
        if not value > 0.0:
            raise ValueError(_NOT_POSITIVE)
        total += math.log(value)
    return total


@kernel
def _split(X, means):
    """The means (n_components, n_features) as the rows' dtype holds them, and the remainders."""
    centers = np.empty((2, *means.shape), X.dtype)
    split_into(means, centers)
    return centers


@kernel
def _write_with_matrices(X, means, factors, log_density):
    n_components, n_features = means.shape
    n_rows = len(X)
    one = X.dtype.type(1)
    centers = _split(X, means)
    triangles = np.zeros((n_components, packed_size(n_features)), X.dtype)
    constants = np.empty(n_components, X.dtype)
    for j in range(n_components):
        constants[j] = _constant(np.diag(factors[j]))
        pack_triangle(factors, j, triangles)
    shift = np.zeros(n_features + LANES, X.dtype)
    tile = aligned_empty_like(n_features * TILE, X)
    values = aligned_empty_like(n_components * TILE, X)
    for start in range(0, n_rows, TILE):
        load_tile(X, start, one, shift, tile)
        for j in range(n_components):
            whitened_norms(tile, n_features, centers, j, triangles, constants[j], values)
        write_rows(values, n_components, start, min(TILE, n_rows - start), log_density)


@kernel
def _write_with_scales(X, means, scales, log_density):
    n_components, n_features = means.shape
    n_rows = len(X)
    one = X.dtype.type(1)
    centers = _split(X, means)
    constants = np.empty(n_components, X.dtype)
    factors = np.empty(scales.shape, X.dtype)
    for j in range(n_components):
        constants[j] = _constant(scales[j])
        for f in range(n_features):
            factors[j, f] = scales[j, f] * math.sqrt(0.5)
    shift = np.zeros(n_features + LANES, X.dtype)
    tile = aligned_empty_like(n_features * TILE, X)
    values = aligned_empty_like(n_components * TILE, X)
    for start in range(0, n_rows, TILE):
        load_tile(X, start, one, shift, tile)
        for j in range(n_components):
            scaled_norms(tile, n_features, centers, j, factors, constants[j], values)
        write_rows(values, n_components, start, min(TILE, n_rows - start), log_density)


@kernel
def _write(X, means, matrices, scales, log_density):
    if len(matrices):
        _write_with_matrices(X, means, matrices, log_density)
    else:
        _write_with_scales(X, means, scales, log_density)


@kernel
def gaussian_rows(tickets, n_chunks, chunk_rows, X, means, matrices, scales, log_density):
    """Write the log-densities of each chunk's rows; parameters as :func:`factors_of` has them."""
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        some = slice(chunk * chunk_rows, (chunk + 1) * chunk_rows)
        _write(X[some], means, matrices, scales, log_density[some])


@kernel
def serial(X, means, matrices, scales):
    """:func:`gaussian_log_density` on the calling thread, of what :func:`factors_of` returns."""
    _check(X, means, matrices, scales)
    log_density = large_empty((len(X), len(means)), X.dtype)
    _write(X, means, matrices, scales, log_density)
    return log_density


def factors_of(means, precisions_cholesky, covariance_type):
    """Matrices of all components, or scales; what isn't needed is empty."""
    of = _BY_DIMENSION[precisions_cholesky.ndim]
    return of(means, precisions_cholesky, covariance_type)


@register_jitable
def doubles(array):
    """An array as the kernels take what isn't rows."""
    return np.ascontiguousarray(array.astype(np.float64))


def _of_stack(means, precisions_cholesky, covariance_type):
    if covariance_type != "full":
        raise ValueError(_MISFIT)
    return doubles(precisions_cholesky), np.empty((0, 0))


def _of_matrix(means, precisions_cholesky, covariance_type):
    k, d = means.shape
    if covariance_type == "diag":
        return np.empty((0, 0, 0)), doubles(precisions_cholesky)
    if covariance_type != "tied" or precisions_cholesky.shape != (d, d):
        raise ValueError(_MISFIT)
    factors = np.empty((k, d, d))
    for j in range(k):
        factors[j] = precisions_cholesky
    return factors, np.empty((0, 0))


def _of_vector(means, precisions_cholesky, covariance_type):
    k, d = means.shape
    scales = np.empty((k, d))
    if covariance_type == "spherical" and len(precisions_cholesky) == k:
        for j in range(k):
            scales[j] = precisions_cholesky[j]
    elif covariance_type == "tied_diag" and len(precisions_cholesky) == d:
        for j in range(k):
            scales[j] = precisions_cholesky
    else:
        raise ValueError(_MISFIT)
    return np.empty((0, 0, 0)), scales


def _of_scalar(means, precisions_cholesky, covariance_type):
    if covariance_type != "tied_spherical":
        raise ValueError(_MISFIT)
    return np.empty((0, 0, 0)), np.full(means.shape, np.float64(precisions_cholesky))


def _of_scalar_in_array(means, precisions_cholesky, covariance_type):
    if covariance_type != "tied_spherical":
        raise ValueError(_MISFIT)
    return np.empty((0, 0, 0)), np.full(means.shape, np.float64(precisions_cholesky[()]))


_BY_DIMENSION = {0: _of_scalar_in_array, 1: _of_vector, 2: _of_matrix, 3: _of_stack}
_REAL = types.Float | types.Integer | types.Boolean


@overload(factors_of)
def _factors_of(means, precisions_cholesky, covariance_type):
    factors = precisions_cholesky
    if isinstance(factors, _REAL):
        return _of_scalar
    if isinstance(factors, types.Array) and isinstance(factors.dtype, _REAL):
        if factors.ndim in _BY_DIMENSION:
            return _BY_DIMENSION[factors.ndim]
    raise TypingError(
        f"precisions_cholesky must be a real number or an array of 0 to 3 dimensions, not {factors}"
    )


def compiled_as(function, body):
    """Let compiled code that calls a function with these arguments run the kernel ``body``."""
    call = linked(body)

    @overload(function)
    def implementation(X, means, precisions_cholesky, covariance_type="full"):
        for array in (X, means):
            if not isinstance(array, types.Array) or array.ndim != 2:
                raise TypingError(f"{function.__name__} takes 2-D arrays, not {array}")
            check_numbers(function, array)

        def call_with_factors(X, means, precisions_cholesky, covariance_type="full"):
            matrices, scales = factors_of(means, precisions_cholesky, covariance_type)
            return call((convert(X, X), doubles(means), matrices, scales))

        return call_with_factors


compiled_as(gaussian_log_density, serial)
