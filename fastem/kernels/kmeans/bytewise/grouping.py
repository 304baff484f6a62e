"""When centres are grouped, and which of them rows are compared with besides their group.

The farther a centre is from where it was when it was grouped, the fewer rows' bounds hold. So those
that are farthest are compared with every row, and all are grouped anew once that pays.
"""

import numpy as np

from fastem.kernels.kmeans.bytewise.groups import Away, group_centers, no_groups
from fastem.kernels.kmeans.bytewise.tiles import BLOCK
from fastem.kernels.runtime.chunks import ceil_div
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

# Nothing is known of how far the centres are.
_NOWHERE = Away(np.empty(0, np.int32), np.inf, 0.0)


class Grouping:
    """The centres' groups, and what is known of the rows' distances beyond them.

    Attributes
    ----------
    groups : Groups
    outers : float32 array of shape (n_rows,)
        As ``bytes.bytes_pass`` takes them.
    cost : float
        What the rows' comparison takes by a sample, as a share of what one with all centres does.
    """

    def __init__(self, n_rows, n_clusters):
        self.groups = no_groups(n_clusters)
        self.outers = np.zeros(n_rows, np.float32)
        self.cost = 1.0
        self._anchors = None  # where the centres were when they were grouped
        self._n_left, self._regret = _MOST_GROUPINGS, 0.0

    def forget(self):
        """Rows' labels have changed unseen."""
        self.groups = no_groups(len(self.groups.numbers))

    def follow(self, X, scale, labels, centers, moved, half_norms):
        """Group the centres if that pays; how far they are from where they were then.

        Parameters
        ----------
        X : array of shape (n_rows, n_features)
        scale : float
        labels : int32 array of shape (n_rows,)
        centers : float64 array of shape (n_clusters, n_features)
        moved : None or float64 array of shape (n_clusters,)
            How far they have moved in the last step, in scaled units; None before the first pass.
        half_norms : float32 array
            As for ``groups.group_centers``.

        Returns
        -------
        Away
            Nothing of rows shorter than a vector: ``in_group.py`` would read beyond the centres.
        """
        if moved is None or X.shape[1] < LANES:
            return _NOWHERE
        sample = slice(None, None, ceil_div(len(X), _SAMPLE))
        own = X[sample] - centers[labels[sample]]
        squares = np.einsum("ij,ij->i", own, own)
        away, self.cost, fresh = _NOWHERE, 1.0, 0.0
        if len(self.groups.order) > 0:
            outers = self.outers[sample]
            gaps = np.sort((outers - np.sqrt(squares) * scale)[outers > 0])
            now = np.linalg.norm((centers - self._anchors) * scale, axis=1) * (1 + 1e-9)
            away, self.cost = self._choose_fast(gaps, now)
            # Grouped now, centres will soon be as far as they have moved in the last step.
            _, fresh = self._choose_fast(gaps, moved)
        gain = self.cost - fresh
        self._regret += max(gain, 0.0)
        if self._n_left == 0 or self._regret + _HORIZON * gain < 1 - self.cost:
            return away
        self._n_left -= 1
        self._regret = 0.0
        self.groups = group_centers(centers, half_norms, float(np.median(squares)), len(X))
        if len(self.groups.order) == 0:
            self._n_left //= 2
        self._anchors = centers
        self.outers[:] = 0
        self.cost = 1.0
        return _NOWHERE

    def _choose_fast(self, gaps, moved):
        """The centres to compare with every row, and what a pass takes then.

        ``gaps`` are by how much rows' bounds exceed their distances from their own centres.
        """
        farthest_first = np.argsort(-moved)[: _MOST_FAST + 1]
        farthest = moved[farthest_first]
        n_fast = np.arange(0, len(farthest), BLOCK)
        # One more, for where nothing is known of any row.
        opened = (np.searchsorted(gaps, farthest[n_fast], side="right") + 1) / (len(gaps) + 1)
        n_own = BLOCK * self.groups.counts[self.groups.numbers].mean()
        cost = (n_fast + n_own + _READ_COST) * (_ONE_COST / len(moved)) + opened
        best = np.argmin(cost)
        fast = farthest_first[: n_fast[best]].astype(np.int32)
        away = Away(fast, float(farthest[len(fast)]), float(farthest[0]))
        return away, min(cost[best], 1.0)
