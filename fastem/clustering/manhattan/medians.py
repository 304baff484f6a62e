"""The clusters' medians where rows are in several parts: the same as of all rows in one.

Every round holds each cluster's values against an interval for each feature. The weights below and
inside add up over the parts, and tell whether the median lies inside, below or above; a few values
from inside, evenly spaced, tell where to put the next interval. Once few values are inside, these
are gathered, the median among them.

As far as there are no weights, such last intervals follow the rows that move: so in the next
iteration all is known of them but the few values. They are as wide as parts have room for, so that
medians seldom leave them; the few values are those around the place that the median should have
among the values inside. Where it has left its interval, or more rows have moved than were listed,
one round with an interval around where it should be mostly does.
"""

from typing import Any, NamedTuple

import numpy as np

from fastem.clustering.model import ALGORITHM
from fastem.kernels.kmedians.base import PartStatistics
from fastem.kernels.medians.shares import ClusterShares
from fastem.rows import Rows, Slot

# What a part keeps of each interval: so many values, fewer where that would be much memory.
_MOST_KEPT, _LEAST_KEPT, _KEPT_SHARE = 1024, 32, 1 / 16
# So many values are gathered at most; so often are values asked for that are followed.
_FEW, _MOST_ASKED = 256, 2
# Half an interval's width: in standard deviations of a sample's median; in values that should lie
# there, as a share of those that there is room for; in shifts of the median since the last
# iteration.
_DEVIATIONS, _REACH, _SHIFTS = 2.5, 0.2, 1.5
# Half the width of what is asked for inside: in deviations of evenly spread values, and in values.
_INNER_DEVIATIONS, _INNER_REACH = 2.5, 8
# A median that has left its interval is looked for by the density of the values inside, unless it
# is farther away than so many times their number: so many roots of its distance wider than usual.
_FARTHEST, _ROOTS, _MOST_GUESSES = 4, 1.5, 2
# Otherwise the interval grows by this at the end where the median has left it; after so many rounds
# there is no end.
_GROWTH, _MOST_MISSES = 8.0, 5

SHARES: Slot[ClusterShares] = Slot("shares of clusters")


class JointMedians:
    """Finds medians in one iteration after the other.

    Parameters
    ----------
    n_clusters : int
    """

    def __init__(self, n_clusters: int):
        self._n_clusters = n_clusters
        # Where an interval once had more values in a part than there is room for.
        self._crowded: Any = False
        # Of the last call; how far apart the values around these are; how far from these to look.
        self._medians: np.ndarray | None = None
        self._spacing = self._reach = np.empty((0, 0))
        # The intervals that parts follow, (2, n_clusters, n_features).
        self._followed: np.ndarray | None = None

    def capacity(self, rows: Rows) -> int:
        """How many values of an interval that is followed a part keeps; 0 if none is."""
        share = self._share(rows)
        return min(share, _MOST_KEPT) if share >= _LEAST_KEPT and not rows.weighted else 0

    def _share(self, rows):
        return int(_KEPT_SHARE * rows.n_rows / (rows.n_parts * self._n_clusters))

    def find(
        self, rows: Rows, list_members: Any, *args: Any, known: PartStatistics | None = None
    ) -> np.ndarray:
        """The medians of all clusters.

        Parameters
        ----------
        rows : Rows
        list_members : callable
            A step ``(part, n_clusters, width, *args)`` that keeps a ``ClusterShares`` as
            ``SHARES``, and returns the weights and numbers of the clusters' rows.
        known : PartStatistics, default=None
            The parts' sum, if these have algorithms that follow the intervals of the last call.
            Then parts may be left with ``SHARES``, which are to be dropped once labels change.

        Returns
        -------
        ndarray of shape (n_clusters, n_features)
            In the rows' dtype; NaN for clusters without rows.
        """
        width = min(max(self._share(rows), _LEAST_KEPT), _MOST_KEPT)
        members = _Members(rows, list_members, self._n_clusters, width, args)
        weights, n_members = (known.weights, known.n_members) if known else members.list()
        shares = known.shares if known is not None and known.shares.size > 0 else None
        search = _Search(members, weights, n_members, shares is not None, self._crowded)
        if self._medians is not None:
            search.look_around(self._medians, self._reach)
        if shares is not None and self._followed is not None:
            search.follow(shares, self._followed)
        while search.open.any():
            search.round()
        if known is None:
            rows.map(forget_members)
        medians = search.medians()
        self._followed, self._crowded = search.held, search.crowded
        self._remember(medians, search.spacing, search.reach())
        return medians

    def _remember(self, medians, spacing, n_values):
        if self._medians is None:
            self._spacing, self._reach = spacing, n_values * spacing
        else:
            self._spacing = np.where(spacing > 0, spacing, self._spacing)
            shift = np.abs(medians.astype(np.float64) - self._medians)
            self._reach = np.fmax(n_values * self._spacing, _SHIFTS * shift)
        self._medians = medians.astype(np.float64)


class _Members:
    """The rows where they are, by clusters once somebody asks for it."""

    def __init__(self, rows, list_members, n_clusters, width, args):
        self.rows = rows
        self._list = list_members, n_clusters, width, *args
        self.few = min(_FEW, width)
        #: How many values parts have room for if they have as many inside an interval.
        self.room = width * rows.n_parts

    def list(self):
        """List them; the weights and numbers of the clusters' rows."""
        step, *args = self._list
        return self.rows.reduce(step, *args)

    def map(self, step, *args):
        """A step's result for each part, after the members have been listed if they weren't."""
        return self.rows.map(step, self._list, *args)

    def reduce(self, step, *args):
        """The sum of these."""
        return self.rows.reduce(step, self._list, *args)


class _Found(NamedTuple):
    """What rows that were held against intervals tell, a value for each interval.

    ``sums`` are the weights below the interval, with its lower end, with what is inside, and with
    its upper end; ``where`` the median is: 0 below, 1 at the lower end, 2 inside, 3 at the upper
    end, 4 above.
    """

    places: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sums: np.ndarray
    n_inside: np.ndarray
    least: np.ndarray
    most: np.ndarray
    where: np.ndarray

    def only(self, chosen):
        """The same of some of the intervals."""
        return _Found(
            *(value[:, chosen] if value is self.sums else value[chosen] for value in self)
        )


class _Search:
    """The search for the medians of one iteration."""

    def __init__(self, members, weights, n_members, follows, crowded):
        rows = members.rows
        self._members = members
        self._follows = follows
        self._dtype = rows.dtype
        self._few = members.few
        shape = len(weights), rows.n_features
        #: Where an interval had more values in a part than there is room for.
        self.crowded = np.broadcast_to(crowded, shape).copy()
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
        #: The intervals that the rows were held against last; NaN where there is none.
        self.held = np.full((2, *shape), np.nan, rows.dtype)
        self._misses = np.zeros(shape, int)
        # The least value up to which half of the weight lies, and the next one if exactly half.
        self._value, self._next = np.full(shape, np.nan), np.full(shape, np.nan)

    def reach(self):
        """How many values an interval around a median should have to either side."""
        room = self._members.room if self._follows else self._few
        return _REACH * np.where(self.crowded, self._few, max(room, self._few))

    def look_around(self, medians, reach):
        """Begin with intervals around these; NaN where nothing is known."""
        lower, upper = medians - reach, medians + reach
        known = np.isfinite(lower) & np.isfinite(upper)
        self._lower[known], self._upper[known] = lower[known], upper[known]

    def follow(self, shares, held):
        """Learn from the intervals that parts follow."""
        known = self.open & ~np.isnan(shares[..., 0]) & ~np.isnan(held[0])
        self.held[:, known] = held[:, known]
        found = self._found(known, *held, shares[known], shares[known][:, 2])
        # At an end with half of the weight there, the value that follows is not known.
        for case, ends in {1: found.low, 3: found.high}.items():
            hit = (found.where == case) & (found.sums[case] > found.most)
            self._settle(found.places[hit], ends[hit])
        self._ask(found.only(found.where == 2))
        self._guess(found.only((found.where == 0) | (found.where == 4)))

    def round(self):
        """Hold all that is open against its intervals, and learn from that."""
        with np.errstate(over="ignore"):
            lower, upper = self._lower.astype(self._dtype), self._upper.astype(self._dtype)
        self.held[:, self.open] = lower[self.open], upper[self.open]
        step = hold_to_follow if self._follows else hold
        shares = self._members.reduce(step, self.open, lower, upper)
        found = self._found(self.open, lower, upper, shares[:, :4], shares[:, 4])
        for case, ends in {1: found.low, 3: found.high}.items():
            hit = found.where == case
            self._settle(found.places[hit], ends[hit])
            hit &= found.sums[case] <= found.most
            self._follow_up(found.places[hit], ends[hit])
        missed = found.only((found.where == 0) | (found.where == 4))
        self._widen(missed.only(~self._guess(missed)))
        within = found.only(found.where == 2)
        if self._follows:
            within = self._ask(within)
        few = within.n_inside <= self._few
        some, many = within.only(few), within.only(~few)
        if len(some.places):
            self._select(some, *self._inside(some.places))
        if len(many.places):
            self._narrow(many, *self._inside(many.places))

    def _found(self, known, lower, upper, shares, n_inside):
        sums = np.cumsum(shares.T, axis=0)
        least, most = self._least[known], self._most[known]
        low, high = lower[known].astype(float), upper[known].astype(float)
        where = (sums < least).sum(axis=0)
        return _Found(np.argwhere(known), low, high, sums, n_inside, least, most, where)

    def _settle(self, places, values):
        """These are the medians, or the lower of two where exactly half of the weight lies."""
        at = tuple(places.T)
        self._value[at] = values
        self.open[at] = False

    def _follow_up(self, places, values):
        """Ask for the next greater values, where exactly half of the weight lies at these."""
        if len(places):
            following = self._members.map(next_above, places, values)
            self._next[tuple(places.T)] = np.min(following, axis=0)

    def _guess(self, missed):
        """Look for medians that have left their intervals, by the density of the values inside.

        Returns for which of them that is known well enough.
        """
        sums, n_inside = missed.sums, missed.n_inside
        upwards = missed.where == 4
        at = tuple(missed.places.T)
        beyond = np.where(upwards, missed.least - sums[3], sums[0] - missed.least)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            beyond *= n_inside / (sums[2] - sums[1])  # weights, as numbers of values
            step = (missed.high - missed.low) / (n_inside + 1)
            middle = np.where(upwards, missed.high + beyond * step, missed.low - beyond * step)
            # Numbers of values that far away vary by about their roots.
            reach = (self.reach()[at] + _ROOTS * np.sqrt(beyond)) * step
            lower, upper = middle - reach, middle + reach
        known = (beyond <= _FARTHEST * n_inside) & (self._misses[at] < _MOST_GUESSES)
        known &= np.isfinite(lower) & np.isfinite(upper) & (lower < upper)
        at = tuple(missed.places[known].T)
        self._misses[at] += 1
        self._lower[at], self._upper[at] = lower[known], upper[known]
        return known

    def _widen(self, missed):
        """The medians have left their intervals: look beyond."""
        at = tuple(missed.places.T)
        self._misses[at] += 1
        low, high = missed.low, missed.high
        with np.errstate(over="ignore", invalid="ignore"):
            step = _GROWTH * (high - low)
            step[~(step > 0) | (self._misses[at] > _MOST_MISSES)] = np.inf
            upwards = missed.where == 4
            self._lower[at] = np.where(upwards, high, low - step)
            self._upper[at] = np.where(upwards, high + step, low)

    def _select(self, inside, values, weights):
        """All values inside are here, in order: take the medians among them."""
        up_to = inside.sums[1][:, np.newaxis] + np.cumsum(weights, axis=1)
        n_values = np.isfinite(values).sum(axis=1)
        found = np.minimum((up_to < inside.least[:, np.newaxis]).sum(axis=1), n_values - 1)
        every = np.arange(len(values))
        medians = values[every, found]
        # Of equal values the last one's sum counts.
        last = (values <= medians[:, np.newaxis]).sum(axis=1) - 1
        exact = up_to[every, last] <= inside.most
        following = values[every, np.minimum(last + 1, values.shape[1] - 1)]
        known = exact & (last + 1 < n_values)
        at = tuple(inside.places.T)
        self.spacing[at] = (values[every, n_values - 1] - values[:, 0]) / np.maximum(
            n_values - 1, 1
        )
        self._next[at] = np.where(known, following, np.nan)
        self._settle(inside.places, medians)
        self._follow_up(inside.places[exact & ~known], medians[exact & ~known])

    def _ask(self, inside):
        """Find medians among the values that parts follow; returns those that are not found."""
        rank = inside.least - inside.sums[1]
        # Each lies between these, of whose interval's values so many lie up to there.
        lower, upper = inside.low.copy(), inside.high.copy()
        n_lower, n_upper = np.zeros(len(rank)), inside.n_inside.copy()
        asked = np.arange(len(rank))
        missing = np.ones(len(rank), bool)
        for _ in range(_MOST_ASKED):
            first, last = self._middle(
                lower[asked], upper[asked], rank[asked] - n_lower[asked], (n_upper - n_lower)[asked]
            )
            sensible = np.isfinite(first) & np.isfinite(last)
            asked, first, last = asked[sensible], first[sensible], last[sensible]
            if len(asked) == 0:
                break
            n_below, n_up_to, values = self._between(inside.places[asked], first, last)
            under, over = rank[asked] <= n_below, rank[asked] > n_up_to
            hit = ~under & ~over & (n_up_to - n_below <= self._few)
            if hit.any():
                found = inside.only(asked[hit])
                found.sums[1] += n_below[hit]
                self._select(found, values[hit], np.isfinite(values[hit]).astype(np.float64))
                missing[asked[hit]] = False
            upper[asked], n_upper[asked] = np.where(
                under,
                (first, n_below),
                np.where(over, (upper[asked], n_upper[asked]), (last, n_up_to)),
            )
            lower[asked], n_lower[asked] = np.where(
                over,
                (last, n_up_to),
                np.where(under, (lower[asked], n_lower[asked]), (first, n_below)),
            )
            unknown = np.isnan(n_below)
            uneven = asked[unknown & (inside.n_inside[asked] < 0.5 * self._members.room)]
            self.crowded[tuple(inside.places[uneven].T)] = True
            asked = asked[~hit & ~unknown]
        return inside.only(missing)

    def _middle(self, lower, upper, rank, n_values):
        """Where the value of a rank should be among evenly spread ones; few are all asked for."""
        with np.errstate(over="ignore", invalid="ignore"):
            step = (upper - lower) / (n_values + 1)
            reach = _INNER_DEVIATIONS * np.sqrt(rank * (n_values - rank) / n_values)
            middle, reach = lower + rank * step, (reach + _INNER_REACH) * step
            few = n_values <= self._few
            first = np.where(few, lower, np.maximum(middle - reach, lower))
            last = np.where(few, upper, np.minimum(middle + reach, upper))
        return first.astype(self._dtype), last.astype(self._dtype)

    def _between(self, places, first, last):
        """How many values inside lie below these and up to those, and up to a few between."""
        rows, most = self._members.rows, self._few
        parts = rows.map(followed_between, places, first, last, most)
        n_below, n_up_to = (sum(counts) for counts in list(zip(*parts, strict=True))[:2])
        return (
            n_below,
            n_up_to,
            np.sort(np.concatenate([part[2] for part in parts], axis=1), axis=1),
        )

    def _narrow(self, inside, values, weights):
        """Some of many values inside are here: they tell about where the medians are."""
        n_values = np.isfinite(values).sum(axis=1)
        share = (inside.least - inside.sums[1]) / (inside.sums[2] - inside.sums[1])
        up_to = np.cumsum(weights, axis=1)
        place = (up_to < (share * up_to[:, -1])[:, np.newaxis]).sum(axis=1)
        reach = (_DEVIATIONS * 0.5 * np.sqrt(n_values)).astype(int) + 1
        every, before, after = np.arange(len(values)), place - reach, place + reach
        at = tuple(inside.places.T)
        low = values[every, np.maximum(before, 0)]
        high = values[every, np.minimum(after, n_values - 1)]
        self._lower[at] = np.where(before >= 0, low, inside.low)
        self._upper[at] = np.where(after < n_values, high, inside.high)

    def _inside(self, places):
        """Values from inside these intervals in order, then infinities; and their weights."""
        parts = self._members.map(values_inside, places, self._few)
        weights = [np.broadcast_to(weights, values.shape) for values, weights in parts]
        values = np.concatenate([values for values, _ in parts], axis=1).astype(np.float64)
        weights = np.where(np.isfinite(values), np.concatenate(weights, axis=1), 0.0)
        order = np.argsort(values, axis=1, kind="stable")
        return np.take_along_axis(values, order, 1), np.take_along_axis(weights, order, 1)

    def medians(self):
        """All medians, as in one part."""
        two = np.isfinite(self._next)
        medians = self._value.copy()
        medians[two] = medians[two] * 0.5 + self._next[two] * 0.5
        return medians.astype(self._dtype)


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


def _shares_of(part, listing):
    if SHARES.name not in part.keeps:
        step, *args = listing
        step(part, *args)
    return part.kept(SHARES)


def hold(part, listing, wanted, lower, upper):
    """The weights below, at and inside intervals; see ``ClusterShares.sum_up``."""
    return _shares_of(part, listing).sum_up(wanted, lower, upper)


def hold_to_follow(part, listing, wanted, lower, upper):
    """As :func:`hold`; from now on the part's algorithm follows these intervals."""
    shares = _shares_of(part, listing)
    found = shares.sum_up(wanted, lower, upper)
    part.kept(ALGORITHM).followed.take(wanted, lower, upper, found, shares.inside)
    return found


def followed_between(part, places, first, last, most):
    """As ``FollowedShares.between``, of the intervals that the part's algorithm follows."""
    return part.kept(ALGORITHM, reads=False).followed.between(places, first, last, most)


def next_above(part, listing, places, values):
    """The least value above each, of its cluster and feature."""
    shares = _shares_of(part, listing)
    return [shares.next_above(j, f, value) for (j, f), value in zip(places, values, strict=True)]


@np.errstate(over="ignore", invalid="ignore")  # behind what is kept there may be anything
def values_inside(part, listing, places, most):
    """Up to so many values from inside the last intervals, a row for each, filled with infinities.

    Their weights sum to about the weight of all inside; to just that if these are no more than
    ``most``. Without weights one column tells what each value of its row stands for.
    """
    values, weights = _shares_of(part, listing).kept_inside(places)
    if values.shape[1] > most:  # a sample does, evenly spaced
        n_values = np.isfinite(values).sum(axis=1, keepdims=True)
        n_taken = np.minimum(n_values, most)
        chosen = np.arange(most) * n_values // np.maximum(n_taken, 1)
        chosen = np.minimum(chosen, values.shape[1] - 1)
        values, weights = (np.take_along_axis(array, chosen, 1) for array in (values, weights))
        values[np.arange(most) >= n_taken] = np.inf
        weights = weights * (n_values / np.maximum(n_taken, 1))
    return values, weights if part.sample_weight is not None else weights[:, :1]
