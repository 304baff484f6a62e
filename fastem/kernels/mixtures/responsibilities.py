"""Log-densities of the components into the rows' log-density and responsibilities.

The logarithm of a sum of exponentials is taken relative to the greatest term, as in P. Blanchard,
D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA
Journal of Numerical Analysis 41, 2021.
"""

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from fastem.kernels.mixtures.lanes import write_rows
from fastem.kernels.runtime.arrays import large_empty, read_only
from fastem.kernels.runtime.chunks import row_chunks
from fastem.kernels.runtime.compiling import inline, kernel, variant
from fastem.kernels.runtime.inputs import check_numbers, convert, real_rows
from fastem.kernels.runtime.linking import linked
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.elementary import exp_nonpositive, log
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty_like, load_tile
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    double,
    greater,
    lanes_of,
    load,
    lowest_of,
    multiply_add,
    store,
    sum_of_lanes,
    where,
)

# Values about a tile's densities, of which a vector behind two tiles is of earlier tiles, too.
DENSITY = 2 * TILE + LANES
_LEFT = 2 * TILE

_WORK = 16  # multiplications that an exponential is worth, for the size of chunks


def _listed(components, i):
    """The number of the i-th component to be considered."""
    raise NotImplementedError("for kernels only")


@variant(_listed, of=types.Array)
def _listed_component(components, i):
    return components[i]


@variant(_listed, of=(types.NoneType, types.Omitted))
def _any_component(components, i):
    return i


@inline
def _divide(weights, total, none):
    """Their quotient, or the total where that is zero or NaN."""
    return where(none < total, weights / total, total)


@inline
def _scale_two(values, at, left, right):
    """Multiply two vectors of values."""
    lanes = lanes_of(values)
    store(load(values, at, lanes) * left, values, at)
    store(load(values, at + lanes, lanes) * right, values, at + lanes)


@inline
def normalize_tile(log_joint, n_components, weights, hard, density, components=None):
    """Turn a tile's log-densities into responsibilities, in place.

    Parameters
    ----------
    log_joint : array, float32 or float64
        ``log_joint[j * TILE + lane]`` is component j's logarithm of weight times density. A row
        whose values are all -inf belongs to no component; a row with NaN or +inf becomes NaN.
    n_components : int
    weights : array of TILE values
        Factors of the lanes' responsibilities.
    hard : bool
        Whether the most probable component (the first of equals) gets all, instead of its share.
    density : array of 2 * TILE values
        Receives the greatest terms, and behind them by how many times the sums are greater, or
        ones if ``hard``: what :func:`log_densities` or :func:`log_likelihood` takes.
    components : None or array of int
        The ``n_components`` to be considered; None stands for the first ones.
    """
    zero = log_joint.dtype.type(0)
    if hard:
        for lane in range(TILE):
            greatest, chosen = -np.inf, -1
            for i in range(n_components):
                at = _listed(components, i) * TILE + lane
                if log_joint[at] > greatest:
                    greatest, chosen = log_joint[at], at
                log_joint[at] = zero
            density[lane], density[TILE + lane] = greatest, log_joint.dtype.type(1)
            if chosen >= 0:
                log_joint[chosen] = weights[lane]
        return
    lanes = lanes_of(log_joint)
    none, lowest = broadcast(zero, lanes), broadcast(lowest_of(log_joint), lanes)
    # Two vectors side by side: each operation on one need not wait for that before. Shares are
    # divided by their total beside the next vectors' exponentials, as loads and stores cost nothing
    # there; beside the first ones the last vectors are multiplied by one, which are still to come.
    last = TILE - 2 * lanes
    before = last
    factor_left = factor_right = broadcast(log_joint.dtype.type(1), lanes)
    for left in range(0, TILE, 2 * lanes):
        right = left + lanes
        # Finite, so that a difference from it is never that of two infinities.
        greatest_left = greatest_right = lowest
        for i in range(n_components):
            start = _listed(components, i) * TILE
            greatest_left = greater(load(log_joint, start + left, lanes), greatest_left)
            greatest_right = greater(load(log_joint, start + right, lanes), greatest_right)
        total_left = total_right = none
        for i in range(n_components):
            start = _listed(components, i) * TILE
            _scale_two(log_joint, start + before, factor_left, factor_right)
            share = exp_nonpositive(load(log_joint, start + left, lanes) - greatest_left)
            total_left = total_left + share
            store(share, log_joint, start + left)
            share = exp_nonpositive(load(log_joint, start + right, lanes) - greatest_right)
            total_right = total_right + share
            store(share, log_joint, start + right)
        store(greatest_left, density, left)
        store(greatest_right, density, right)
        store(total_left, density, TILE + left)
        store(total_right, density, TILE + right)
        factor_left = _divide(load(weights, left, lanes), total_left, none)
        factor_right = _divide(load(weights, right, lanes), total_right, none)
        before = left
    for i in range(n_components):
        start = _listed(components, i) * TILE
        _scale_two(log_joint, start + last, factor_left, factor_right)


@inline
def log_densities(density):
    """Write the logarithms of a tile's densities, in place; the greatest terms if hard."""
    lanes = lanes_of(density)
    for lane in range(0, TILE, lanes):
        total = load(density, TILE + lane, lanes)
        store(load(density, lane, lanes) + log(total), density, lane)


@inline
def log_likelihood(weights, density, ones):
    """The float64 sum of weights times logarithms of densities; a weight of zero beats -inf.

    Parameters
    ----------
    weights : array of TILE values
    density : array of DENSITY values
        As :func:`normalize_tile` leaves it. Behind that are factors, ones at first, whose
        logarithms are left to a later tile, or to :func:`last_likelihood`.
    ones : bool
        Whether all weights are known to be one. A logarithm of a product is enough then: a tenth of
        the time of a pass over 2 features and 8 components, in which one for each tile took another
        7 %, and a look at the weights 5 %.
    """
    lanes = lanes_of(density)
    zero, one = broadcast(weights.dtype.type(0), lanes), broadcast(weights.dtype.type(1), lanes)
    if ones:
        product, total = load(density, _LEFT, lanes), double(zero)
        for lane in range(0, TILE, lanes):
            product = product * load(density, TILE + lane, lanes)
            total = total + double(load(density, lane, lanes))
        # A tile makes the product greater by a power of n_components, up to the 16th in float32
        # where vectors are short.
        most = -lowest_of(density)
        if bits(broadcast(most, lanes) < product) == np.uint64(0):
            if bits(broadcast(np.sqrt(np.sqrt(most)), lanes) < product) != np.uint64(0):
                total = total + double(log(product))
                product = one
            store(product, density, _LEFT)
            return sum_of_lanes(total)
    total = double(zero)
    for lane in range(0, TILE, lanes):
        weight = load(weights, lane, lanes)
        counted = zero < weight
        greatest = where(counted, load(density, lane, lanes), zero)
        times = where(counted, load(density, TILE + lane, lanes), one)
        total = multiply_add(double(weight), double(greatest) + double(log(times)), total)
    return sum_of_lanes(total)


@inline
def last_likelihood(density):
    """What :func:`log_likelihood` has left: the logarithms of some factors, which become ones."""
    lanes = lanes_of(density)
    left = load(density, _LEFT, lanes)
    store(broadcast(density.dtype.type(1), lanes), density, _LEFT)
    return sum_of_lanes(double(log(left)))


@inline
def choose_tile(log_joint, n_components, chosen):
    """Each lane's component of the greatest value, the first of equals, as a number of that type.

    Parameters
    ----------
    log_joint : array, float32 or float64
        As for :func:`normalize_tile`.
    n_components : int
    chosen : array of TILE values
        Where the components' numbers go.
    """
    lanes = lanes_of(log_joint)
    for lane in range(0, TILE, lanes):
        greatest = load(log_joint, lane, lanes)
        number = broadcast(log_joint.dtype.type(0), lanes)
        for j in range(1, n_components):
            value = load(log_joint, j * TILE + lane, lanes)
            this = broadcast(log_joint.dtype.type(j), lanes)
            number = where(greatest < value, this, number)
            greatest = greater(value, greatest)
        store(number, chosen, lane)


@kernel
def normalize_pass(tickets, n_chunks, chunk_rows, log_joint, log_density, responsibilities):
    """:func:`normalize_responsibilities` of all rows, ``chunk_rows`` at a time."""
    n_rows, n_components = log_joint.shape
    one = log_joint.dtype.type(1)
    shift = np.zeros(n_components + LANES, log_joint.dtype)
    tile = aligned_empty_like(n_components * TILE, log_joint)
    weights = aligned_empty_like(TILE, log_joint)
    density = aligned_empty_like(2 * TILE, log_joint)
    weights[:] = one
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for first in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows), TILE):
            load_tile(log_joint, first, one, shift, tile)
            normalize_tile(tile, n_components, weights, False, density)
            log_densities(density)
            n_lanes = min(TILE, n_rows - first)
            for lane in range(n_lanes):
                log_density[first + lane] = density[lane]
            write_rows(tile, n_components, first, n_lanes, responsibilities)


def as_rows(log_joint):
    """Log-densities as Python passes them, in a dtype of the kernels."""
    log_joint = real_rows(log_joint, "log_joint")
    dtype = np.float32 if log_joint.dtype == np.float32 else np.float64
    return read_only(np.require(log_joint, dtype, ["C", "A"]))


def normalize_responsibilities(log_joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn the components' log-densities into the rows' log-density and responsibilities.

    Callable from Python, and from functions under ``@njit``, where it takes a 2-D array and runs on
    the calling thread.

    Parameters
    ----------
    log_joint : array-like of shape (n_rows, n_components)
        Logarithms of weight times density.

    Returns
    -------
    log_density : ndarray of shape (n_rows,)
        Logarithm of the sum of the exponentials of each row; float32 if ``log_joint`` is, else
        float64.
    responsibilities : ndarray of shape (n_rows, n_components)
        Each term's share in the sum. Zeros for a row of -inf, whose ``log_density`` is -inf; NaN
        for a row that has NaN or +inf.

    Raises
    ------
    ValueError
        If ``log_joint`` is not a 2-D array of real numbers, or has no components.
    """
    log_joint = as_rows(log_joint)
    check_components(log_joint)
    log_density = np.empty(len(log_joint), log_joint.dtype)
    responsibilities = np.empty(log_joint.shape, log_joint.dtype)
    chunk_rows, n_chunks = row_chunks(len(log_joint), _WORK * log_joint.shape[1])
    run(normalize_pass, n_chunks, chunk_rows, log_joint, log_density, responsibilities)
    return log_density, responsibilities


@kernel
def check_components(log_joint):
    """Refuse rows without values."""
    if log_joint.shape[1] == 0:
        raise ValueError("log_joint must have at least one component")


@kernel
def _serial(log_joint):
    """:func:`normalize_responsibilities` on the calling thread."""
    check_components(log_joint)
    n_rows = len(log_joint)
    log_density = large_empty(n_rows, log_joint.dtype)
    responsibilities = large_empty(log_joint.shape, log_joint.dtype)
    normalize_pass(
        np.zeros(1, np.int64), 1, max(n_rows, 1), log_joint, log_density, responsibilities
    )
    return log_density, responsibilities


def compiled_as(function, body):
    """Let compiled code that calls ``function(log_joint)`` run the kernel ``body``."""
    call = linked(body)

    @overload(function)
    def implementation(log_joint):
        if not isinstance(log_joint, types.Array) or log_joint.ndim != 2:
            raise TypingError(f"{function.__name__} takes a 2-D array, not {log_joint}")
        check_numbers(function, log_joint)
        return lambda log_joint: call((convert(log_joint, log_joint),))


compiled_as(normalize_responsibilities, _serial)
