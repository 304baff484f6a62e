"""When centres are grouped, and which of them rows are compared with besides their group.

The farther a centre is from where it was when it was grouped, the fewer rows' bounds hold. So those
that are farthest are compared with every row, and all are grouped anew once that pays.
"""

import numpy as np

from fastem.kernels.clusters import Frame
from fastem.kernels.distances.one_row import direct_distance
from fastem.kernels.kmeans.base import tile_units
from fastem.kernels.kmeans.bytewise.crowds import crowd_centers, share_opened
from fastem.kernels.kmeans.bytewise.groups import Away, group_centers, no_groups
from fastem.kernels.kmeans.bytewise.tiles import BLOCK
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.machine import LANES

# A row's comparison with one centre in float32, alone, takes as long as with so many in a tile of
# bytes, and to read it as long as with so many alone: 2.6 us for 1,000 centres of 384 features in
# bytes, 0.3 us for 8 and 0.9 us for 48 alone.
_ONE_COST, _READ_COST = 5, 4

# Up to so many centres are compared besides a group.
_MOST_FAST = 64

# Centres are grouped so often at most, and again if a pass that takes as long as a comparison with
# all is regained within so many passes, or what the old groups have cost would have paid for it.
_MOST_GROUPINGS, _HORIZON = 4, 4

_SAMPLE = 256  # rows by which bounds are judged

# Within this share of the squared distance within which centres form a group, they form a crowd. Of
# so many rows crowds may leave this share open: (200k, 96, 4096), where it was 0.22, spared 0.4 of
# the pass and lost more in those after it, whose bounds were worse.
_CROWD_REACH, _CROWD_SAMPLE, _MOST_OPENED = 0.25, 64, 0.12

# Nothing is known of how far the centres are; they are where they were.
_NOWHERE = Away(np.empty(0, np.int32), np.array([np.inf]), 0.0)
_HERE = Away(np.empty(0, np.int32), np.array([0.0]), 0.0)


@kernel
def _measure(rows, numbers, points, places, squares):
    for i in range(len(numbers)):
        squares[i] = direct_distance(rows, numbers[i], points, places[i])


def _squares_between(rows, numbers, points, places):
    """Squared distances of some rows from a point each, in float64.

    NumPy's temporary arrays take twenty times as long for 256 rows of 768 features.

    Parameters
    ----------
    rows : array of shape (n_rows, n_features), float32 or float64
    numbers, places : int64 arrays
        The rows' numbers and the points'.
    points : float64 array of shape (n_points, n_features)
    """
    squares = np.empty(len(numbers))
    _measure(read_only(rows), numbers, read_only(points), places, squares)
    return squares


class Grouping:
    """The centres' groups, and what is known of the rows' distances beyond them.

    Attributes
    ----------
    groups : Groups
    crowds : Crowds or None
        If the next pass finds the rows' bounds by them.
    outers : float32 array of shape (n_rows,)
        As ``bytes.bytes_pass`` takes them.
    cost : float
        What the rows' comparison takes by a sample, as a share of what one with all centres does.
    """

    def __init__(self, n_rows, n_clusters, origin):
        self._origin = origin
        self.crowds = None
        self.groups = no_groups(n_clusters)
        self.outers = np.zeros(n_rows, np.float32)
        self.cost = 1.0
        self._anchors = None  # where the centres were when they were grouped
        self._n_left, self._regret = _MOST_GROUPINGS, 0.0
        self._price = 1.0  # what the pass takes in which centres are grouped

    def forget(self):
        """Rows' labels have changed unseen."""
        self.groups, self.crowds = no_groups(len(self.groups.numbers)), None

    def follow(self, X, scale, labels, centers, moved, packed):
        """Group the centres if that pays; how far they are from where they were then.

        Parameters
        ----------
        X : array of shape (n_rows, n_features)
        scale : float
        labels : int32 array of shape (n_rows,)
        centers : float64 array of shape (n_clusters, n_features)
        moved : None or float64 array of shape (n_clusters,)
            How far they have moved in the last step, in scaled units; None before the first pass.
        packed : EuclideanPacked

        Returns
        -------
        Away
            Nothing of rows shorter than a vector: ``in_group.py`` would read beyond the centres.
        """
        self.crowds = None
        if moved is None or X.shape[1] < LANES:
            return _NOWHERE
        sample = np.arange(0, len(X), ceil_div(len(X), _SAMPLE))
        squares = _squares_between(X, sample, centers, labels[sample].astype(np.int64))
        away, self.cost, fresh = _NOWHERE, 1.0, 0.0
        if len(self.groups.order) > 0:
            outers = self.outers[sample]
            gaps = np.sort((outers - np.sqrt(squares) * scale)[outers > 0])
            every = np.arange(len(centers))
            now = _squares_between(centers, every, self._anchors, every)
            now = np.sqrt(now) * (scale * (1 + 1e-9))
            away, self.cost = self._choose_fast(gaps, now)
            # Grouped now, centres will soon be as far as they have moved in the last step.
            _, fresh = self._choose_fast(gaps, moved)
        gain = self.cost - fresh
        self._regret += max(gain, 0.0)
        if self._n_left == 0 or self._regret + _HORIZON * gain < self._price - self.cost:
            return away
        self._n_left -= 1
        self._regret = 0.0
        # In float32, as they are packed: 500 of 768 features take a third of the time so.
        near, square = packed.negated[:-1], float(np.median(squares)) * scale**2
        self.groups = group_centers(near, packed.half_norms, square, len(X))
        self._anchors = centers
        self.outers[:] = 0
        self.cost = self._price = 1.0
        if len(self.groups.order) == 0:
            self._n_left //= 2
            return _NOWHERE
        crowded = crowd_centers(near, self.groups, square * _CROWD_REACH)
        if crowded is not None:
            crowds, means, radii = crowded
            rows = np.arange(0, len(X), ceil_div(len(X), _CROWD_SAMPLE))
            opened = share_opened(
                X, rows, labels, *tile_units(X, Frame(self._origin, scale)), centers,
                self.groups, crowds, means, radii,
            )  # fmt: skip
            if opened < _MOST_OPENED:
                n_compared = len(crowds.groups) + _ONE_COST * (self._n_own() + _READ_COST)
                self.crowds = crowds
                self.cost = self._price = min(n_compared / len(centers) + opened, 1.0)
                return _HERE
        return _NOWHERE

    def _n_own(self):
        """With how many centres a row is compared in its group."""
        return BLOCK * self.groups.counts[self.groups.numbers].mean()

    def _choose_fast(self, gaps, moved):
        """The centres to compare with every row, and what a pass takes then.

        ``gaps`` are by how much rows' bounds exceed their distances from their own centres.
        """
        farthest_first = np.argsort(-moved)[: _MOST_FAST + 1]
        farthest = moved[farthest_first]
        n_fast = np.arange(0, len(farthest), BLOCK)
        # One more, for where nothing is known of any row.
        opened = (np.searchsorted(gaps, farthest[n_fast], side="right") + 1) / (len(gaps) + 1)
        cost = (n_fast + self._n_own() + _READ_COST) * (_ONE_COST / len(moved)) + opened
        best = np.argmin(cost)
        fast = farthest_first[: n_fast[best]].astype(np.int32)
        away = Away(fast, farthest[: len(fast) + 1 : BLOCK], float(farthest[0]))
        return away, min(cost[best], 1.0)
