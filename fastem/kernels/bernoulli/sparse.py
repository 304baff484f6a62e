"""CSR rows: a row costs its ones times the components.

The log-density is that of a row of zeros, plus the log-odds of the row's ones. A feature that a
component always has (probability 1) has neither; the row then must have all such features, which
are counted.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.bernoulli.base import BernoulliPass, grouped
from fastem.kernels.bernoulli.driver import accumulate_batch, log_density_batch
from fastem.kernels.bernoulli.tables import GROUP
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import inline, variant
from fastem.kernels.vectors.vector import broadcast, load, store, where

# Odds of more bytes don't stay in the cache, and a group's are fetched for each batch, as its sums
# are: for 46 ones a row, 8,000 features and 300 components, 256 rows take 3.2 times the time of as
# many as there are features, whose values take no more memory than a chunk's sums, and 1,000 rows
# 1.7 times. Smaller ones gain nothing.
_LARGE, _MOST_ROWS = 1 << 21, 1 << 14


class SparsePacked(NamedTuple):
    """What the kernels need of the parameters.

    Parameters
    ----------
    log_weights : ndarray of shape (n_components,)
    zeros : ndarray
        Log-densities of a row of zeros but for the features that are certain, grouped.
    odds : ndarray
        The log-odds as ``grouped`` lays them out; the log-probability of a certain feature.
    certain : ndarray
        1 where a feature is certain, like ``odds``; empty if none is.
    n_certain : ndarray
        Their numbers, like ``zeros``.
    """

    log_weights: np.ndarray
    zeros: np.ndarray
    odds: np.ndarray
    certain: np.ndarray
    n_certain: np.ndarray


@variant(log_density_batch, of=SparsePacked)
def _log_density_batch(packed, rows, first, n, batch_rows, scratch, joint):
    indices, indptr = rows
    n_groups = len(packed.zeros) // GROUP
    width = len(packed.odds) // len(packed.zeros)
    for group in range(0, n_groups, 2):  # two at a time don't wait for each other's sums
        second = min(group + 1, n_groups - 1)
        base, other = group * width, second * width
        for row in range(n):
            total = load(packed.zeros, group * GROUP, GROUP)
            another = load(packed.zeros, second * GROUP, GROUP)
            for i in range(indptr[first + row], indptr[first + row + 1]):
                total = total + load(packed.odds, (base + indices[i]) * GROUP, GROUP)
                another = another + load(packed.odds, (other + indices[i]) * GROUP, GROUP)
            store(total, joint, (group * batch_rows + row) * GROUP)
            store(another, joint, (second * batch_rows + row) * GROUP)
    if len(packed.certain) > 0:
        _rule_out(packed, rows, first, n, batch_rows, joint)


@inline
def _rule_out(packed, rows, first, n, batch_rows, joint):
    """Write the log-densities of components that always have a feature which a row lacks."""
    indices, indptr = rows
    n_groups = len(packed.zeros) // GROUP
    width = len(packed.odds) // len(packed.zeros)
    none, impossible = broadcast(0.0, GROUP), broadcast(-np.inf, GROUP)
    for group in range(n_groups):
        base = group * width
        for row in range(n):
            absent = load(packed.n_certain, group * GROUP, GROUP)
            for i in range(indptr[first + row], indptr[first + row + 1]):
                absent = absent - load(packed.certain, (base + indices[i]) * GROUP, GROUP)
            to = (group * batch_rows + row) * GROUP
            store(where(none < absent, impossible, load(joint, to, GROUP)), joint, to)


@variant(accumulate_batch, of=SparsePacked)
def _accumulate_batch(packed, rows, first, n, batch_rows, scratch, shares, total):
    indices, indptr = rows
    n_groups = len(packed.zeros) // GROUP
    width = len(packed.odds) // len(packed.zeros)
    for group in range(n_groups):
        base = group * width
        for row in range(n):
            share = load(shares, (group * batch_rows + row) * GROUP, GROUP)
            for i in range(indptr[first + row], indptr[first + row + 1]):
                at = (base + indices[i]) * GROUP
                store(load(total, at, GROUP) + share, total, at)


class SparsePass(BernoulliPass):
    """Passes over the ones of CSR rows.

    Parameters
    ----------
    rows : tuple of (indices, indptr)
        As in a CSR matrix; all values that are stored are ones, and none is stored twice.
    n_features : int
    sample_weight : None or ndarray of shape (n_rows,), float64
    n_components : int
    """

    _least_chunk = 512
    _scratch_size = 0

    def __init__(self, rows, n_features, sample_weight, n_components):
        indices, indptr = rows
        self._width = n_features
        if 8 * n_features * n_components > _LARGE:
            self._fewest_rows = min(max(n_features, self._fewest_rows), _MOST_ROWS)
        rows = (
            read_only(indices.astype(np.int32, copy=False)),
            read_only(indptr.astype(np.int64, copy=False)),
        )
        super().__init__(
            rows, len(indptr) - 1, n_features, sample_weight, n_components, indices.nbytes
        )

    def _pack(self, parameters):
        log_weights, absent, present = parameters
        certain = absent == -np.inf
        any_certain = certain.any()
        if any_certain:
            absent = np.where(certain, 0.0, absent)
        n_certain = certain.sum(axis=1, keepdims=True)
        return SparsePacked(
            np.array(log_weights),
            grouped(absent.sum(axis=1, keepdims=True), 1),
            grouped(present - absent, self._width),
            grouped(certain, self._width) if any_certain else np.empty(0),
            grouped(n_certain, 1),
        )
