"""A part's share of intervals around medians of rows in several parts.

It follows the rows that change clusters: so the weights below and inside add up over the parts
without another look at the rows, as long as the medians stay inside.
"""

import numpy as np

from fastem.kernels.medians.brackets import empty_brackets
from fastem.kernels.medians.moving import follow_brackets, follow_parameters, too_many
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import worthwhile_threads
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run


@kernel
def find_between(tickets, n_tasks, brackets, places, first, last, counts, values):
    """Find the values inside brackets from one to another, both included; a task is a place.

    Parameters
    ----------
    brackets : Brackets
    places : int64 array of shape (n_places, 2)
        Clusters and features.
    first, last : arrays of shape (n_places,), in the rows' dtype
    counts : int64 array of shape (n_places, 2)
        Gets how many values inside are less than the first and no greater than the last; -1 where
        there is no bracket.
    values : float64 array of shape (n_places, most)
        Gets the values between, if they are no more than ``most``, and then infinities.
    """
    most = values.shape[1]
    while True:
        place = next_chunk(tickets)
        if place >= n_tasks:
            return
        cluster, feature = places[place, 0], places[place, 1]
        known = brackets.below[cluster, feature] >= 0
        n_inside = brackets.inside[cluster, feature] if known else 0
        n_below = n_within = 0
        for i in range(n_inside):
            value = brackets.values[cluster, feature, i]
            n_below += value < first[place]
            if (value >= first[place]) & (value <= last[place]):
                if n_within < most:
                    values[place, n_within] = value
                n_within += 1
        for i in range(n_within if n_within <= most else 0, most):
            values[place, i] = np.inf
        counts[place, 0] = n_below if known else -1
        counts[place, 1] = n_below + n_within if known else -1


class FollowedShares:
    """What lies below the intervals and inside, pass after pass, without weights.

    Parameters
    ----------
    n_clusters, n_features : int
    capacity : int
        How many values from inside an interval are kept.
    dtype : dtype
        The rows'.
    """

    def __init__(self, n_clusters, n_features, capacity, dtype):
        self._brackets = empty_brackets(n_clusters, n_features, capacity, dtype)

    def forget(self):
        """Take all as unknown."""
        self._brackets.below[:] = -1

    def take(self, wanted, lower, upper, shares, inside):
        """Take over intervals that rows have been held against.

        Parameters
        ----------
        wanted : ndarray of shape (n_clusters, n_features), bool
        lower, upper : ndarray of shape (n_clusters, n_features), in the rows' dtype
        shares : ndarray of shape (n_wanted, 5), float64
        inside : Inside
            Both from ``shares.sum_shares``.
        """
        brackets = self._brackets
        capacity = brackets.values.shape[2]
        brackets.lower[wanted], brackets.upper[wanted] = lower[wanted], upper[wanted]
        below, at_lower, _, at_upper, n_inside = shares.T.astype(np.int32)
        fits = n_inside <= min(capacity, inside.values.shape[2])
        brackets.below[wanted] = np.where(fits, below, -1)
        brackets.at_lower[wanted], brackets.at_upper[wanted] = at_lower, at_upper
        brackets.inside[wanted] = np.where(fits, n_inside, 0)
        width = int(n_inside.max(where=fits, initial=0))
        brackets.values[wanted, :width] = inside.values[wanted, :width]

    def follow(self, X, labels, moves):
        """Bring all up to date with the rows that have moved since the last call.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features), C-contiguous
        labels : ndarray of shape (n_rows,), int32
            After the moves.
        moves : Moves
        """
        if too_many(moves):
            self.forget()
        elif moves.counts.any():
            n_tasks, block, n_threads = follow_parameters(X.shape[1], moves, self._brackets)
            arguments = read_only(X), read_only(labels), moves, self._brackets
            run(follow_brackets, n_tasks, block, *arguments, most_threads=n_threads)

    def shares(self):
        """The numbers below, at the lower end, inside and at the upper end; NaN where unknown.

        Returns
        -------
        ndarray of shape (n_clusters, n_features, 4), float64
        """
        brackets = self._brackets
        numbers = brackets.below, brackets.at_lower, brackets.inside, brackets.at_upper
        shares = np.stack(numbers, axis=2).astype(np.float64)
        shares[brackets.below < 0] = np.nan
        return shares

    def between(self, places, first, last, most):
        """Values inside the intervals from one to another, both included.

        Parameters
        ----------
        places : ndarray of shape (n_places, 2), int
            Clusters and features.
        first, last : ndarray of shape (n_places,), in the rows' dtype
        most : int
            Of so many values at most are all returned.

        Returns
        -------
        n_below, n_up_to : ndarray of shape (n_places,), float64
            How many values inside are less than the first, and no greater than the last; NaN
            where that is unknown.
        values : ndarray of shape (n_places, n_values), float64
            The values of each place in any order, and then infinities.
        """
        counts = np.empty((len(places), 2), np.int64)
        values = np.empty((len(places), most))
        arguments = self._brackets, places, first, last, counts, values
        run(find_between, len(places), *arguments, most_threads=worthwhile_threads(values.size))
        n_below, n_up_to = np.where(counts < 0, np.nan, counts).T
        n_within = np.where(counts[:, 1] - counts[:, 0] <= most, counts[:, 1] - counts[:, 0], 0)
        return n_below, n_up_to, values[:, : int(n_within.max(initial=0))]
