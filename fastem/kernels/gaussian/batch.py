"""What the code of the Gaussian kernels emits of its arguments: centres, and tiles of a batch."""

from contextlib import contextmanager

from numba import types

from fastem.kernels.vectors.emit import Emitter
from fastem.kernels.vectors.machine import TILE


class Center:
    """A component's row of points that are given by two numbers each.

    Parameters
    ----------
    e : Emitter
    i : int
        The number of the argument (2, n_components, n_features): the points as the rows' dtype
        holds them, and the remainders of rounding.
    component, n_features
        LLVM's.
    """

    def __init__(self, e: Emitter, i, component, n_features):
        (points,) = e.pointers(i)
        self._e = e
        self._high = e.row(points, component, n_features)
        self._low = e.row(self._high, e.extent(i, 1), n_features)
        self._lanes = e.vector(i).count
        # In float64 the remainders are lost in x's own rounding.
        self._exact = e.signature.args[i].dtype == types.float64

    def of(self, feature):
        """A feature's two numbers as vectors; None for a remainder that doesn't matter."""
        high = self._e.splat(self._high, feature, self._lanes)
        return high, None if self._exact else self._e.splat(self._low, feature, self._lanes)


def centered(builder, value, center):
    """``value - (high + low)`` without rounding the sum, for what :meth:`Center.of` returns."""
    high, low = center
    value = builder.fsub(value, high)
    return value if low is None else builder.fsub(value, low)


class ChosenTiles:
    """The tiles of a batch that a component has a share in.

    Parameters
    ----------
    e : Emitter
        Of an intrinsic whose arguments begin with ``tiles, n_features, chosen, n_chosen, centers,
        component, shares, stride``, those of ``driver.accumulate_tiles``.
    """

    def __init__(self, e: Emitter):
        self.e = e
        self._x, self._chosen, shares = e.pointers(0, 2, 6)
        self.n_features, self.n_chosen, self.component, self._stride = (
            e.args[i] for i in (1, 3, 5, 7)
        )
        self._shares = e.row(shares, self.component, TILE)
        self.center = Center(e, 4, self.component, self.n_features)
        self.vector = e.vector(0)

    @contextmanager
    def each(self):
        """Around what is emitted for a tile: its place among the chosen, and two addresses.

        Those of its features and of its shares.
        """
        e = self.e
        with e.loop(0, self.n_chosen) as i:
            t = e.value(self._chosen, i)
            tile = e.row(self._x, t, e.times(self.n_features, TILE))
            yield i, tile, e.row(self._shares, t, self._stride)
