"""Medians that follow the rows which change clusters.

A row that leaves or joins a cluster changes, for each feature, a count or a few values in the
bracket around the median. As long as the median's rank stays inside, it is selected from these
values; the other rows are not looked at.
"""

import numpy as np

from fastem.kernels.medians.brackets import empty_brackets, read_median
from fastem.kernels.medians.cluster import update_medians
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import ceil_div, worthwhile_threads
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run

# The brackets' share of the data's memory, and how many values one holds.
_SHARE = 1 / 16
_NARROWEST, _WIDEST = 16, 512

# Features of a task, at most.
_BLOCK = 8


@inline
def _join(brackets, cluster, feature, value):
    """Add a value; a bracket without room for it is given up."""
    if brackets.below[cluster, feature] < 0:
        return
    lower, upper = brackets.lower[cluster, feature], brackets.upper[cluster, feature]
    if value < lower:
        brackets.below[cluster, feature] += 1
    elif value == lower:
        brackets.at_lower[cluster, feature] += 1
    elif value < upper:
        inside = brackets.inside[cluster, feature]
        if inside == brackets.values.shape[2]:
            brackets.below[cluster, feature] = -1
        else:
            brackets.values[cluster, feature, inside] = value
            brackets.inside[cluster, feature] = inside + 1
    elif value == upper:
        brackets.at_upper[cluster, feature] += 1


@inline
def _leave(brackets, cluster, feature, value):
    """Remove a value that is there."""
    if brackets.below[cluster, feature] < 0:
        return
    lower, upper = brackets.lower[cluster, feature], brackets.upper[cluster, feature]
    if value < lower:
        brackets.below[cluster, feature] -= 1
    elif value == lower:
        brackets.at_lower[cluster, feature] -= 1
    elif value < upper:
        last = brackets.inside[cluster, feature] - 1
        i = 0
        while i < last and brackets.values[cluster, feature, i] != value:
            i += 1
        brackets.values[cluster, feature, i] = brackets.values[cluster, feature, last]
        brackets.inside[cluster, feature] = last
    elif value == upper:
        brackets.at_upper[cluster, feature] -= 1


@inline
def _follow(first, stop, X, labels, moves, brackets, changed):
    """Bring brackets of some features up to date, and note which clusters have changed."""
    for chunk in range(len(moves.counts)):
        start = chunk * moves.capacity
        for i in range(start, start + moves.counts[chunk]):
            row, old = moves.rows[i], moves.origins[i]
            new = labels[row]
            changed[new] = True
            if old >= 0:
                changed[old] = True
            for f in range(first, stop):
                if old >= 0:
                    _leave(brackets, old, f, X[row, f])
                _join(brackets, new, f, X[row, f])


@kernel
def follow_moves(
    tickets,
    n_tasks,
    block,
    X,
    labels,
    moves,
    counts,
    brackets,
    medians,
    lost,
):
    """Bring brackets and medians up to date with the rows listed as moved.

    Parameters
    ----------
    block : int
        Features of a task.
    X : array of shape (n_rows, n_features)
    labels : int32 array of shape (n_rows,)
        After the moves.
    moves : Moves
        With room for all.
    counts : int64 array of shape (n_clusters,)
        Rows of each cluster, after the moves.
    brackets : Brackets
    medians : array of shape (n_clusters, n_features), in the rows' dtype
    lost : bool array of shape (n_clusters, n_features)
        Set where the median is no longer in its bracket.
    """
    n_clusters, n_features = medians.shape
    changed = np.zeros(n_clusters, np.bool_)
    while True:
        task = next_chunk(tickets)
        if task >= n_tasks:
            return
        first, stop = task * block, min((task + 1) * block, n_features)
        _follow(first, stop, X, labels, moves, brackets, changed)
        for j in range(n_clusters):
            if not changed[j]:
                continue
            for f in range(first, stop):
                found = False
                if brackets.below[j, f] >= 0 and counts[j] > 0:
                    values = brackets.values[j, f]
                    median, found = read_median(brackets, j, f, values, 0, counts[j])
                    if found:
                        medians[j, f] = median
                lost[j, f] = not found


@kernel
def follow_brackets(tickets, n_tasks, block, X, labels, moves, brackets):
    """As :func:`follow_moves`, for the brackets only."""
    n_clusters, n_features = brackets.below.shape
    changed = np.zeros(n_clusters, np.bool_)
    while True:
        task = next_chunk(tickets)
        if task >= n_tasks:
            return
        first, stop = task * block, min((task + 1) * block, n_features)
        _follow(first, stop, X, labels, moves, brackets, changed)


def follow_parameters(n_features, moves, brackets):
    """How many tasks follow the moves, features of a task, and threads that this is worth."""
    block = max(1, min(_BLOCK, n_features // 4))
    n_values = brackets.values.size + int(moves.counts.sum()) * n_features
    return ceil_div(n_features, block), block, worthwhile_threads(n_values)


def too_many(moves):
    """Whether some rows that have moved are not listed."""
    return bool((moves.counts > moves.capacity).any())


class MovingMedians:
    """The clusters' medians, pass after pass.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), read-only
    sample_weight : ndarray of shape (n_rows,) or (0,), float64, read-only
        With weights, all medians of the clusters that have changed are found anew.
    labels : ndarray of shape (n_rows,), int32
        As the passes write them.
    n_clusters : int
    """

    def __init__(self, X, sample_weight, labels, n_clusters):
        n_rows, n_features = X.shape
        self._rows = X
        self._weight = sample_weight
        self._labels = read_only(labels)
        self.medians = np.full((n_clusters, n_features), np.nan, X.dtype)
        width = min(int(_SHARE * n_rows / n_clusters), _WIDEST)
        self._brackets = None
        if width >= _NARROWEST and len(sample_weight) == 0:
            self._brackets = empty_brackets(n_clusters, n_features, width, X.dtype)
        self._known = False

    def forget(self):
        """Take all medians as unknown."""
        self._known = False

    def update(self, chunk_rows, moves, counts):
        """Bring the medians up to date with the labels.

        Parameters
        ----------
        chunk_rows : int
        moves : Moves
            All that has changed since the last call.
        counts : ndarray of shape (n_chunks, n_clusters), int64
            Each chunk's number of rows of positive weight in each cluster.
        """
        wanted = np.zeros(self.medians.shape, bool)
        if not self._known or too_many(moves):
            wanted[:] = True
        elif self._brackets is None:
            listed = np.arange(moves.capacity) < moves.counts[:, np.newaxis]
            wanted[self._labels[moves.rows.reshape(listed.shape)[listed]]] = True
            wanted[moves.origins.reshape(listed.shape)[listed]] = True
        elif moves.counts.any():
            n_tasks, block, n_threads = follow_parameters(wanted.shape[1], moves, self._brackets)
            run(
                follow_moves,
                n_tasks,
                block,
                self._rows,
                self._labels,
                moves,
                counts.sum(axis=0),
                self._brackets,
                self.medians,
                wanted,
                most_threads=n_threads,
            )
        self._known = True
        if wanted.any():
            update_medians(
                self._rows,
                self._labels,
                self._weight,
                chunk_rows,
                counts,
                wanted,
                self._brackets,
                self.medians,
            )
