"""Products of two pairs by one multiplication, for CPUs that add beside it at no cost.

``a c + b d = (a + d) (b + c) - a b - c d``, where the last two products are those of many sums:
S. Winograd, "A new algorithm for inner product", IEEE Transactions on Computers C-17, 1968. A core
of AMD's Zen 4 begins a multiplication *and* an addition of whole vectors in a cycle, so that two
additions and one multiplication take the time of two multiplications. Where ten of sixteen products
are taken so and the rest one by one, both units are busy, and a matrix product takes 0.69 of its
time.

Errors are relative to the squares of ``a`` and ``b`` and of ``c`` and ``d``: these must be of one
size.
"""

from fastem.kernels.vectors.emit import Emitter
from fastem.kernels.vectors.machine import ADDS_BESIDE


def can_pair(dtype):
    """Whether products of a Numba or NumPy type may be paired: float32 has no digits to spare."""
    return ADDS_BESIDE and str(dtype) == "float64"


def is_crossed(i, j):
    """Whether the products of line i and column j in a block of 4 by 4 are paired."""
    return (i + j) % 3 != 0


def add_pair(e: Emitter, slot, crossed, left, right):
    """Add ``a c + b d`` to what a place holds, and if crossed ``a b + c d``, too.

    ``left`` are a and b, ``right`` c and d.
    """
    (a, b), (c, d) = left, right
    if crossed:
        e.add_product(slot, e.builder.fadd(a, d), e.builder.fadd(b, c))
    else:
        e.add_product(slot, a, c)
        e.add_product(slot, b, d)
