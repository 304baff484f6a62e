"""The value of a given rank, by partitioning: never by sorting everything.

C. A. R. Hoare, "Algorithm 65: find", Communications of the ACM 4, 1961. The partitions have no
branch that depends on a comparison, as half of them would be predicted wrongly.
"""

import numpy as np

from fastem.kernels.compiling import inline, kernel


@inline
def _next_random(state):
    """A linear congruential generator's next state, of which the high bits are good."""
    return state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)


@inline
def _pivot(values, start, stop, random):
    """The median of three values of ``values[start:stop]``, picked so that no order is bad."""
    length = np.uint64(stop - start)
    bits = random >> np.uint64(33)
    a = values[start + np.intp(bits % length)]
    b = values[start + np.intp((bits >> np.uint64(5)) % length)]
    c = values[start + np.intp((bits >> np.uint64(11)) % length)]
    return max(min(a, b), min(max(a, b), c))


@kernel
def select(values, start, stop, rank):
    """Reorder ``values[start:stop]`` so that ``values[rank]`` is as if they were sorted.

    What lies before it is not greater, what lies behind it not less. There must be no NaN.

    Returns
    -------
    The value.
    """
    first, last = start, stop
    random = np.uint64(stop - start)
    while last - first > 1:
        random = _next_random(random)
        pivot = _pivot(values, first, last, random)
        # What is less comes first, then what is equal, unless neither part would be shorter.
        split = first
        for i in range(first, last):
            value = values[i]
            values[i] = values[split]
            values[split] = value
            split += value < pivot
        if rank < split:
            last = split
            continue
        first = split
        for i in range(first, last):
            value = values[i]
            values[i] = values[split]
            values[split] = value
            split += value == pivot
        if rank < split:
            return pivot
        first = split
    return values[rank]


@kernel
def weighted_median(values, weights, n):
    """The least of ``values[:n]`` up to which half of the weight lies.

    If exactly half does (up to the rounding of sums), its mean with the next greater value. Both
    arrays are reordered. All weights are positive, and no value is NaN.
    """
    total = 0.0
    for i in range(n):
        total += weights[i]
    slack = (n + 8) * 2.0**-52 * total
    half = 0.5 * total
    first, last = 0, n
    before = 0.0
    random = np.uint64(n)
    while True:
        random = _next_random(random)
        pivot = _pivot(values, first, last, random)
        split = first
        less = equal = 0.0
        for i in range(first, last):
            value, weight = values[i], weights[i]
            values[i], weights[i] = values[split], weights[split]
            values[split], weights[split] = value, weight
            split += value < pivot
            less += weight if value < pivot else 0.0
        if split > first and before + less >= half - slack:
            last = split
            continue
        first = split
        for i in range(first, last):
            value, weight = values[i], weights[i]
            values[i], weights[i] = values[split], weights[split]
            values[split], weights[split] = value, weight
            split += value == pivot
            equal += weight if value == pivot else 0.0
        before += less + equal
        if split == last or before >= half - slack:
            break
        first = split
    if before > half + slack:
        return pivot
    greater = values[0]
    found = False
    for i in range(n):
        if values[i] > pivot and (not found or values[i] < greater):
            greater = values[i]
            found = True
    return middle(pivot, greater) if found else pivot


@inline
def middle(a, b):
    """The mean of two values, rounded once and without overflow."""
    return a if a == b else a * 0.5 + b * 0.5
