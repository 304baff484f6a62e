"""Dense rows, packed into bits."""

from typing import NamedTuple

import numpy as np

from fastem.kernels.bernoulli.base import BernoulliPass, grouped
from fastem.kernels.bernoulli.driver import accumulate_batch, log_density_batch
from fastem.kernels.bernoulli.tables import (
    GROUP,
    NIBBLE,
    TABLE,
    fill_table,
    fold_table,
    look_up,
    scatter,
)
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import variant
from fastem.kernels.vectors.vector import broadcast, store

# Bytes of a row whose tables, 2 KiB each, are in a core's first-level cache at a time.
_PLACES = 16
# Rows of so few bytes add to two sets of tables in turn: else they would often wait for the row
# before them to be added to the same entry.
_NARROW = 8


class DensePacked(NamedTuple):
    """What the kernels need of the parameters; ``absent`` and ``present`` as ``grouped`` does."""

    log_weights: np.ndarray
    absent: np.ndarray
    present: np.ndarray


@variant(log_density_batch, of=DensePacked)
def _log_density_batch(packed, rows, first, n, batch_rows, scratch, joint):
    n_bytes = rows.shape[1]
    n_groups = len(packed.absent) // (n_bytes * 8 * GROUP)
    zero = broadcast(0.0, GROUP)
    for group in range(n_groups):
        to = group * batch_rows * GROUP
        for row in range(n):
            store(zero, joint, to + row * GROUP)
        for place in range(0, n_bytes, _PLACES):
            count = min(_PLACES, n_bytes - place)
            for i in range(2 * count):
                feature = ((group * n_bytes + place) * 8 + i * NIBBLE) * GROUP
                fill_table(packed.absent, packed.present, feature, scratch, i * TABLE)
            for row in range(n):
                at = (first + row) * n_bytes + place
                look_up(rows, at, count, scratch, joint, to + row * GROUP)


@variant(accumulate_batch, of=DensePacked)
def _accumulate_batch(packed, rows, first, n, batch_rows, scratch, shares, total):
    n_bytes = rows.shape[1]
    n_groups = len(packed.absent) // (n_bytes * 8 * GROUP)
    sets = 2 if n_bytes <= _NARROW else 1
    for group in range(n_groups):
        source = group * batch_rows * GROUP
        for place in range(0, n_bytes, _PLACES):
            count = min(_PLACES, n_bytes - place)
            size = 2 * count * TABLE
            for i in range(sets * size):
                scratch[i] = 0.0
            for row in range(n):
                at = (first + row) * n_bytes + place
                origin = row % sets * size
                scatter(rows, at, count, scratch, origin, shares, source + row * GROUP)
            for i in range(2 * count * sets):
                nibble = i % (2 * count)
                feature = ((group * n_bytes + place) * 8 + nibble * NIBBLE) * GROUP
                fold_table(scratch, i * TABLE, total, feature)


class DensePass(BernoulliPass):
    """Passes over packed rows.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, ceil(n_features / 8)), uint8
        Feature 8 i + j is bit j, from the lowest, of byte i; the bits behind the last are zeros.
    n_features : int
    sample_weight : None or ndarray of shape (n_rows,), float64
    n_components : int
    """

    _least_chunk = 2048

    def __init__(self, rows, n_features, sample_weight, n_components):
        self._width = rows.shape[1] * 8
        self._scratch_size = 2 * _PLACES * TABLE
        super().__init__(
            read_only(rows), len(rows), n_features, sample_weight, n_components, rows.nbytes
        )

    def _pack(self, parameters):
        absent, present = (
            grouped(values, self._width) for values in (parameters.absent, parameters.present)
        )
        return DensePacked(np.array(parameters.log_weights), absent, present)
