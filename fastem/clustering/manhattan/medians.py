"""The clusters' medians where rows are in several parts: the same as of all rows in one.

Every round holds each cluster's values against an interval for each feature. The weights below and
inside add up over the parts, and tell whether the median lies inside, below or above; a few values
from inside, evenly spaced, tell where to put the next interval. Once few values are inside, these
are gathered, the median among them. The intervals of the next iteration lie around the medians of
this one, so that one round and the few values mostly do.
"""

from typing import Any

import numpy as np

from fastem.kernels.medians.shares import ClusterShares
from fastem.rows import Rows, Slot

# What a part keeps of each interval: so many values, fewer where that would be much memory.
_MOST_KEPT, _LEAST_KEPT, _KEPT_SHARE = 512, 32, 1 / 16
# So many values are gathered at most.
_FEW = 128
# Half an interval's width: in standard deviations of a sample's median; in values that should lie
# there, as a share of those that may be gathered; in shifts of the median since the last iteration.
_DEVIATIONS, _REACH, _SHIFTS = 2.5, 0.2, 1.5
# An interval that the median has left grows by this at the end where it did; after so many such
# rounds there is no end.
_GROWTH, _MOST_MISSES = 8.0, 3

SHARES: Slot[ClusterShares] = Slot("shares of clusters")


class JointMedians:
    """Finds medians in one iteration after the other.

    Parameters
    ----------
    n_clusters : int
    """

    def __init__(self, n_clusters: int):
        self._n_clusters = n_clusters
        # Of the last call; how far apart the values around these are; how far from these to look.
        self._medians: np.ndarray | None = None
        self._spacing = self._reach = np.empty((0, 0))

    def find(self, rows: Rows, list_members: Any, *args: Any) -> np.ndarray:
        """The medians of all clusters.

        Parameters
        ----------
        rows : Rows
        list_members : callable
            A step ``(part, n_clusters, width, *args)`` that keeps a ``ClusterShares`` as
            ``SHARES``, and returns the weights and numbers of the clusters' rows.

        Returns
        -------
        ndarray of shape (n_clusters, n_features)
            In the rows' dtype; NaN for clusters without rows.
        """
        n_clusters = self._n_clusters
        width = int(_KEPT_SHARE * rows.n_rows / (rows.n_parts * n_clusters))
        width = min(max(width, _LEAST_KEPT), _MOST_KEPT)
        weights, n_members = rows.reduce(list_members, n_clusters, width, *args)
        search = _Search(rows, weights, n_members, width)
        if self._medians is not None:
            search.look_around(self._medians, self._reach)
        while search.open.any():
            search.round()
        rows.map(forget_members)
        medians = search.medians()
        self._remember(medians, search.spacing, _REACH * search.few)
        return medians

    def _remember(self, medians, spacing, n_values):
        if self._medians is None:
            self._spacing, self._reach = spacing, n_values * spacing
        else:
            self._spacing = np.where(spacing > 0, spacing, self._spacing)
            shift = np.abs(medians.astype(np.float64) - self._medians)
            self._reach = np.fmax(n_values * self._spacing, _SHIFTS * shift)
        self._medians = medians.astype(np.float64)


class _Search:
    """The search for the medians of one iteration."""

    def __init__(self, rows, weights, n_members, width):
        self._rows = rows
        self.few = min(_FEW, width)
        shape = len(weights), rows.n_features
        half = 0.5 * weights
        # Sums of weights that should be equal differ by rounding, as in `weighted_median`.
        slack = (n_members + 8) * 2.0**-52 * weights if rows.weighted else np.zeros(len(weights))
        self._least = np.repeat((half - slack)[:, np.newaxis], shape[1], axis=1)
        self._most = np.repeat((half + slack)[:, np.newaxis], shape[1], axis=1)
        #: Where the median is not known yet.
        self.open = np.repeat((weights > 0)[:, np.newaxis], shape[1], axis=1)
        #: The values' distance from one another around the median, as far as it is known.
        self.spacing = np.zeros(shape)
        self._lower, self._upper = np.full(shape, -np.inf), np.full(shape, np.inf)
        self._misses = np.zeros(shape, int)
        # The least value up to which half of the weight lies, and the next one if exactly half.
        self._value, self._next = np.full(shape, np.nan), np.full(shape, np.nan)

    def look_around(self, medians, reach):
        """Begin with intervals around these; NaN where nothing is known."""
        lower, upper = medians - reach, medians + reach
        known = np.isfinite(lower) & np.isfinite(upper)
        self._lower[known], self._upper[known] = lower[known], upper[known]

    def round(self):
        """Hold all that is open against its intervals, and learn from that."""
        rows, dtype = self._rows, self._rows.dtype
        with np.errstate(over="ignore"):
            lower, upper = self._lower.astype(dtype), self._upper.astype(dtype)
        places = np.argwhere(self.open)
        found = rows.reduce(hold, self.open, lower, upper)
        below, at_lower, inside, at_upper, n_inside = found.T
        low, high = lower[self.open].astype(float), upper[self.open].astype(float)
        least, most = self._least[self.open], self._most[self.open]
        sums = np.cumsum([below, at_lower, inside, at_upper], axis=0)
        # 0: below the interval, 1: its lower end, 2: inside, 3: its upper end, 4: above.
        where = (sums < least).sum(axis=0)
        ends = {1: low, 3: high}
        for case, end in ends.items():
            hit = np.flatnonzero(where == case)
            exact = sums[case][hit] <= most[hit]
            self._settle(places[hit], end[hit], exact)
        for case in (0, 4):
            missed = np.flatnonzero(where == case)
            self._widen(places[missed], low[missed], high[missed], case == 0)
        within = np.flatnonzero(where == 2)
        few = n_inside[within] <= self.few
        some, many = within[few], within[~few]
        self._gather(places[some], sums[:, some], least[some], most[some])
        self._narrow(places[many], sums[:, many], least[many], low[many], high[many])

    def _settle(self, places, values, exact):
        """These are the medians, or the lower of two where exactly half of the weight lies."""
        at = tuple(places.T)
        self._value[at] = values
        self.open[at] = False
        after = places[exact]
        if len(after):
            following = self._rows.map(next_above, after, values[exact])
            self._next[tuple(after.T)] = np.min(following, axis=0)

    def _widen(self, places, low, high, downwards):
        """The median has left the interval: look beyond."""
        at = tuple(places.T)
        self._misses[at] += 1
        with np.errstate(over="ignore", invalid="ignore"):
            step = _GROWTH * (high - low)
        step[~(step > 0) | (self._misses[at] > _MOST_MISSES)] = np.inf
        if downwards:
            self._lower[at], self._upper[at] = low - step, low
        else:
            self._lower[at], self._upper[at] = high, high + step

    def _gather(self, places, sums, least, most):
        """Few values are inside: take all, and the median among them."""
        if len(places) == 0:
            return
        values, weights = self._inside(places)
        up_to = sums[1][:, np.newaxis] + np.cumsum(weights, axis=1)
        n_values = np.isfinite(values).sum(axis=1)
        found = np.minimum((up_to < least[:, np.newaxis]).sum(axis=1), n_values - 1)
        every = np.arange(len(places))
        medians = values[every, found]
        # Of equal values the last one's sum counts.
        last = (values <= medians[:, np.newaxis]).sum(axis=1) - 1
        exact = up_to[every, last] <= most
        following = values[every, np.minimum(last + 1, values.shape[1] - 1)]
        known = exact & (last + 1 < n_values)
        at = tuple(places.T)
        self.spacing[at] = (values[every, n_values - 1] - values[:, 0]) / np.maximum(
            n_values - 1, 1
        )
        self._next[at] = np.where(known, following, np.nan)
        self._settle(places, medians, exact & ~known)

    def _narrow(self, places, sums, least, low, high):
        """Many values are inside: those that are kept tell about where the median is."""
        if len(places) == 0:
            return
        values, weights = self._inside(places)
        n_values = np.isfinite(values).sum(axis=1)
        share = (least - sums[1]) / (sums[2] - sums[1])
        up_to = np.cumsum(weights, axis=1)
        place = (up_to < (share * up_to[:, -1])[:, np.newaxis]).sum(axis=1)
        reach = (_DEVIATIONS * 0.5 * np.sqrt(n_values)).astype(int) + 1
        every, before, after = np.arange(len(places)), place - reach, place + reach
        at = tuple(places.T)
        self._lower[at] = np.where(before >= 0, values[every, np.maximum(before, 0)], low)
        inside = after < n_values
        self._upper[at] = np.where(inside, values[every, np.minimum(after, n_values - 1)], high)

    def _inside(self, places):
        """Values from inside these intervals in order, then infinities; and their weights."""
        parts = self._rows.map(values_inside, places, self.few)
        values = np.concatenate([values for values, _ in parts], axis=1).astype(np.float64)
        weights = np.concatenate([np.broadcast_to(w, x.shape) for x, w in parts], axis=1)
        weights = np.where(np.isfinite(values), weights, 0.0)
        order = np.argsort(values, axis=1, kind="stable")
        return np.take_along_axis(values, order, 1), np.take_along_axis(weights, order, 1)

    def medians(self):
        """All medians, as in one part."""
        two = np.isfinite(self._next)
        medians = self._value.copy()
        medians[two] = medians[two] * 0.5 + self._next[two] * 0.5
        return medians.astype(self._rows.dtype)


# The steps that run where the rows are.


def keep_members(part, labels, n_clusters, width):
    """Keep a part's rows by their clusters; returns these' weights and numbers of rows."""
    shares = ClusterShares(part.X, part.sample_weight, labels, n_clusters, width)
    part.keep(SHARES, shares)
    if part.sample_weight is None:
        return shares.n_members.astype(np.float64), shares.n_members
    return np.bincount(labels, part.sample_weight, n_clusters), shares.n_members


def forget_members(part):
    """Keep nothing of that."""
    part.drop(SHARES)


def hold(part, wanted, lower, upper):
    """The weights below, at and inside intervals; see ``ClusterShares.sum_up``."""
    return part.kept(SHARES).sum_up(wanted, lower, upper)


def next_above(part, places, values):
    """The least value above each, of its cluster and feature."""
    shares = part.kept(SHARES)
    return [shares.next_above(j, f, value) for (j, f), value in zip(places, values, strict=True)]


@np.errstate(over="ignore", invalid="ignore")  # behind what is kept there may be anything
def values_inside(part, places, most):
    """Up to so many values from inside the last intervals, a row for each, filled with infinities.

    Their weights sum to about the weight of all inside; to just that if these are no more than
    ``most``. Without weights one column tells what each value of its row stands for.
    """
    values, weights = part.kept(SHARES).kept_inside(places)
    if values.shape[1] > most:  # a sample does, evenly spaced
        n_values = np.isfinite(values).sum(axis=1, keepdims=True)
        n_taken = np.minimum(n_values, most)
        chosen = np.arange(most) * n_values // np.maximum(n_taken, 1)
        chosen = np.minimum(chosen, values.shape[1] - 1)
        values, weights = (np.take_along_axis(array, chosen, 1) for array in (values, weights))
        values[np.arange(most) >= n_taken] = np.inf
        weights = weights * (n_values / np.maximum(n_taken, 1))
    return values, weights if part.sample_weight is not None else weights[:, :1]
