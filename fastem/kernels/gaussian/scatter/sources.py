"""The centred features and the weights that products are made of, a vector of rows at a time."""

from abc import ABC, abstractmethod
from contextlib import contextmanager

from fastem.kernels.gaussian.batch import ChosenTiles, centered
from fastem.kernels.vectors.emit import call_llvm, store_at
from fastem.kernels.vectors.machine import TILE, VECTOR_BYTES


class Source(ABC):
    """Where the code for sums takes its values from."""

    @abstractmethod
    def features(self, first, width):
        """What :meth:`vectors` needs to know of each of ``width`` features, from ``first`` on."""

    @abstractmethod
    def vectors(self):
        """Around what is emitted for a vector of rows.

        Its weights, ``value(feature)``, and ``weighted(value)``: values times weighted values add
        up to the sums.
        """

    @abstractmethod
    def fresh(self, features):
        """Around what is emitted for a vector of rows of a diagonal block, the row's first.

        Its weights, and the block's values, weighted and not.
        """

    @abstractmethod
    def add_single(self, slot, weight, weighted):
        """Add a feature's values, times their weights, to its sum."""

    @abstractmethod
    def add_count(self, slot, weight):
        """Add the weights to theirs."""


class Direct(Source):
    """Few features are centred and weighted whenever they are needed.

    Parameters
    ----------
    tiles : ChosenTiles
    """

    def __init__(self, tiles: ChosenTiles):
        self._tiles = tiles
        self._e = tiles.e

    def features(self, first, width):
        features = [self._e.plus(first, i) for i in range(width)]
        return [(f, self._tiles.center.of(f)) for f in features]

    @contextmanager
    def vectors(self):
        e, vector = self._e, self._tiles.vector
        with self._tiles.each() as (_, tile, shares), e.loop(0, TILE, vector.count) as lane:
            share = e.lanes(shares, 0, lane, vector)

            def value(feature):
                f, center = feature
                return centered(e.builder, e.lanes(tile, f, lane, vector), center)

            yield share, value, lambda value: e.builder.fmul(share, value)

    @contextmanager
    def fresh(self, features):
        with self.vectors() as (share, value, weighted):
            right = [value(feature) for feature in features]
            yield share, [weighted(one) for one in right], right

    def add_single(self, slot, weight, weighted):
        self._e.add(slot, weighted)

    def add_count(self, slot, weight):
        self._e.add(slot, weight)


class Prepared(Source):
    """Many are once: centred, and multiplied by the weight's square root.

    The square root itself is one more feature. What prepares it is emitted at once, the features
    when their row of blocks begins: in a loop of its own that waited for the second cache, which
    took 3 % of an iteration over 32 features.

    Parameters
    ----------
    tiles : ChosenTiles
    scratch
        The address of :func:`~fastem.kernels.gaussian.scatter.layout.scratch_size` values.
    """

    def __init__(self, tiles: ChosenTiles, scratch):
        self._tiles = tiles
        self._e = tiles.e
        self._scratch = scratch
        self._root = tiles.n_features
        self._n_rows = self._e.plus(tiles.n_features, 1)
        with tiles.each() as (i, _, shares):
            self._prepare(shares, self._prepared(i))

    def _prepared(self, i):
        return self._e.row(self._scratch, i, self._e.times(self._n_rows, TILE))

    def _prepare(self, shares, prepared):
        e, vector = self._e, self._tiles.vector
        with e.loop(0, TILE, vector.count) as lane:
            root = call_llvm(e.builder, "sqrt", [e.lanes(shares, 0, lane, vector)])
            self._keep(root, prepared, self._root, lane)

    def _keep(self, value, prepared, f, lane):
        at = self._e.plus(self._e.times(f, TILE), lane)
        store_at(self._e.builder, value, prepared, at, VECTOR_BYTES)

    def features(self, first, width):
        return [self._e.plus(first, i) for i in range(width)]

    @contextmanager
    def fresh(self, features):
        e, vector = self._e, self._tiles.vector
        with self._tiles.each() as (i, tile, _):
            prepared = self._prepared(i)
            centers = [self._tiles.center.of(f) for f in features]
            with e.loop(0, TILE, vector.count) as lane:
                root = e.lanes(prepared, self._root, lane, vector)
                values = []
                for f, center in zip(features, centers, strict=True):
                    value = centered(e.builder, e.lanes(tile, f, lane, vector), center)
                    values.append(e.builder.fmul(value, root))
                    self._keep(values[-1], prepared, f, lane)
                yield root, values, values

    @contextmanager
    def vectors(self):
        e, vector = self._e, self._tiles.vector
        with e.loop(0, self._tiles.n_chosen) as i:
            prepared = self._prepared(i)
            with e.loop(0, TILE, vector.count) as lane:
                root = e.lanes(prepared, self._root, lane, vector)
                yield root, lambda f: e.lanes(prepared, f, lane, vector), lambda value: value

    def add_single(self, slot, weight, weighted):
        self._e.add_product(slot, weight, weighted)

    def add_count(self, slot, weight):
        self._e.add_product(slot, weight, weight)
