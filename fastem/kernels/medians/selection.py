"""The value of a given rank, by partitioning: never by sorting everything.

C. A. R. Hoare, "Algorithm 65: find", Communications of the ACM 4, 1961. The partitions have no
branch that depends on a comparison, as half of them would be predicted wrongly.
"""

import numpy as np

from fastem.kernels.runtime.compiling import inline, kernel

# Less than this part of the values before the pivot is suspicious.
_FEW = 16


@inline
def _next_random(state):
    """A linear congruential generator's next state, of which the high bits are good."""
    return state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)


@inline
def _pivot_place(values, start, stop, random):
    """The place of the median of three values of ``values[start:stop]`` picked at random.

    So no order of the values is bad.
    """
    length = np.uint64(stop - start)
    bits = random >> np.uint64(33)
    i = start + np.intp(bits % length)
    j = start + np.intp((bits >> np.uint64(5)) % length)
    k = start + np.intp((bits >> np.uint64(11)) % length)
    a, b, c = values[i], values[j], values[k]
    median = max(min(a, b), min(max(a, b), c))
    if median == a:
        return i
    return j if median == b else k


@inline
def _split(values, start, stop, pivot, equal):
    """Move what is less than (or ``equal`` to) the pivot to the front; return where it ends."""
    end = start
    for i in range(start, stop):
        value = values[i]
        values[i] = values[end]
        values[end] = value
        end += value == pivot if equal else value < pivot
    return end


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
        place = _pivot_place(values, first, last, random)
        pivot = values[place]
        values[place] = values[first]
        end = _split(values, first + 1, last, pivot, False)
        values[first] = values[end - 1]
        values[end - 1] = pivot
        if rank < end - 1:
            last = end - 1
        elif rank == end - 1:
            return pivot
        else:
            few = end - first < (last - first) // _FEW
            first = end
            if few:
                # Many may be equal, and would be left one by one.
                first = _split(values, first, last, pivot, True)
                if rank < first:
                    return pivot
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
        pivot = values[_pivot_place(values, first, last, random)]
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
