"""A part's share of intervals around medians of rows in several parts.

It follows the rows that change clusters: so the weights below and inside add up over the parts
without another look at the rows, as long as the medians stay inside.
"""

import numpy as np

from fastem.kernels.medians.brackets import empty_brackets
from fastem.kernels.medians.moving import follow_brackets, follow_parameters, too_many
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.parallel import run


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

    def values_inside(self, places):
        """The values inside intervals that are known.

        Parameters
        ----------
        places : ndarray of shape (n_places, 2), int
            Clusters and features.

        Returns
        -------
        ndarray of shape (n_places, n_values), in the rows' dtype
            The values of each place, and then infinities.
        """
        clusters, features = places.T
        n_inside = self._brackets.inside[clusters, features]
        values = self._brackets.values[clusters, features, : int(n_inside.max(initial=0))]
        values[np.arange(values.shape[1]) >= n_inside[:, np.newaxis]] = np.inf
        return values
