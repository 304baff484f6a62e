"""What the starts of both metrics share.

Every strategy is a function ``(rows, n_clusters, frame, random_state)`` that returns centres in the
rows' coordinates as an ndarray of shape (n_clusters, n_features); or as a CSR matrix, if they are
some of the rows.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from sklearn.utils import check_array

from fastem.clustering.labels import NEAREST_SEEDS
from fastem.kernels.seeding.base import may_be_best
from fastem.kernels.seeding.chunked import ChunkedSeeder
from fastem.kernels.seeding.few import FewRowsSeeder
from fastem.kernels.seeding.sparse import SparseGreedySeeder
from fastem.kernels.vectors.tiles import tiles_fit
from fastem.rows import Rows, Slot, array_rows
from fastem.rows.choice import choose_rows, count_positive
from fastem.rows.local import LocalRows
from fastem.rows.part import Part

# Up to so many rows are sorted for k-means++.
FEW_ROWS = 100

# What a part keeps while seeds are drawn: that, and whether it looks at all rows for each.
SEEDER: Slot[Any] = Slot("seeder")
_READS: Slot[bool] = Slot("seeder reads rows")


def draw_greedily(
    rows: Any,
    n_clusters: int,
    random_state: np.random.RandomState,
    n_local_trials: int | None,
    start: Callable,
    *args: Any,
) -> tuple[Any, np.ndarray]:
    """Seeds, each the best of several rows drawn by their part in the potential.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
    n_clusters : int
    random_state : RandomState
    n_local_trials : int or None
        Candidates for each seed but the first; None for 2 + log(n_clusters).
    start : callable
        A step ``(part, *args, point)`` that ends with :func:`keep_seeder`. The point is a row,
        or a CSR matrix of one.
    *args
        Passed to ``start``.

    Returns
    -------
    seeds : ndarray or CSR matrix of shape (n_clusters, n_features)
        As the rows are.
    indices : ndarray of shape (n_clusters,), int
    """
    if n_local_trials is None:
        n_local_trials = 2 + int(math.log(n_clusters))
    indices = np.empty(n_clusters, int)
    indices[:1] = choose_rows(rows, random_state, 1)
    first = rows.pick(indices[:1])
    potentials = rows.map(start, *args, first if rows.sparse else first[0])
    if type(rows) is LocalRows and rows.n_parts == 1 and rows.map(_draws)[0]:
        drawing = potentials[0][1], n_clusters - 1, n_local_trials, random_state
        indices[1:] = rows.map(_draw, *drawing)[0]
    else:
        _draw_in_parts(rows, potentials, indices, n_local_trials, random_state)
    seeds = rows.pick(indices) if rows.sparse else rows.take(indices)
    if rows.sparse:
        rows.map(_keep_nearest, seeds)
    rows.map(forget, SEEDER, _READS)
    return seeds, indices


def _draw_in_parts(rows, potentials, indices, n_local_trials, random_state):
    """Fill in the indices behind the first, whose potentials are the parts'."""
    for seed in range(1, len(indices)):
        current = sum(potential for _, potential in potentials)
        values = random_state.uniform(size=n_local_trials) * current
        candidates = _locate(rows, potentials, values)
        kept = may_be_best(*rows.reduce(_screen, rows.pick(candidates)))
        best = int(rows.reduce(_try, kept).argmin())
        potentials = rows.map(_accept, best)
        indices[seed] = candidates[kept[best]]


def keep_seeder(part: Part, seeder: Any, point: np.ndarray) -> tuple[int, float]:
    """Keep a seeder whose first seed is a point; the part's offset and potential."""
    part.keep(_READS, isinstance(seeder, ChunkedSeeder | SparseGreedySeeder))
    return part.offset, part.keep(SEEDER, seeder).add(point)


def _draws(part):
    return isinstance(part.kept(SEEDER), FewRowsSeeder | SparseGreedySeeder)


def _draw(part, *args):
    return part.kept(SEEDER).draw(*args)


def _screen(part, candidates):
    # What looks at rows here is used for rows in memory only.
    return part.kept(SEEDER, reads=part.in_memory).screen(candidates)


def _try(part, kept):
    return part.kept(SEEDER).try_candidates(kept)


def _accept(part, index):
    return part.offset, part.kept(SEEDER, reads=part.kept(_READS)).accept(index)


def _keep_nearest(part, seeds):
    seeder = part.kept(SEEDER)
    labels = seeder.nearest(seeds) if isinstance(seeder, SparseGreedySeeder) else None
    if labels is not None:
        part.keep(NEAREST_SEEDS, (labels, seeder.squares))


def _locate(rows, potentials, values):
    """The first rows up to which the potential reaches the values."""
    if len(potentials) == 1:
        return rows.map(_locate_in, {potentials[0][0]: values})[0]
    ends = np.cumsum([potential for _, potential in potentials])
    homes = np.minimum(np.searchsorted(ends, values), len(ends) - 1)
    wanted = {
        offset: values[homes == number] - (ends[number] - potential)
        for number, (offset, potential) in enumerate(potentials)
    }
    found = np.empty(len(values), int)
    for number, local in enumerate(rows.map(_locate_in, wanted)):
        found[homes == number] = local
    return found


def _locate_in(part, wanted):
    values = wanted[part.offset]
    if len(values) == 0:  # its rows needn't be read
        return np.empty(0, np.intp)
    return part.offset + part.kept(SEEDER).locate(values)


def forget(part, *slots):
    """Keep these no longer, as a step."""
    part.drop(*slots)


def spare_rows(rows, random_state, size):
    """Random rows, different ones as long as there are any of positive weight."""
    n_different = min(size, rows.reduce(count_positive))
    return np.resize(choose_rows(rows, random_state, n_different), size)


def sorted_by_value(rows):
    """Few rows in an order that depends on nothing but the rows themselves.

    Drawn from these, the same numbers pick the same seeds however the rows are ordered, and
    whether a row is repeated or has an integer weight. Ordering many rows would take longer than
    drawing from them.
    """
    parts = rows.map(_rows_and_weights)
    X = [x for x, _ in parts]
    X = X[0] if len(X) == 1 else (scipy.sparse.vstack(X, "csr") if rows.sparse else np.vstack(X))
    # Different rows project to different numbers but for rare chance.
    direction = np.cos(np.arange(1.0, rows.n_features + 1))
    if rows.sparse:
        keys = X @ direction
    else:
        keys = np.array([(x * direction).sum() for x in X])
    order = np.argsort(keys, kind="stable")
    weights = np.concatenate([weight for _, weight in parts])[order] if rows.weighted else None
    if rows.sparse or tiles_fit(X):
        return array_rows(X[order], weights)
    # So long that a sorted copy would count: each is a part of its own.
    return LocalRows(
        [
            Part(X[i : i + 1], None if weights is None else weights[number : number + 1], number)
            for number, i in enumerate(order)
        ]
    )


def _rows_and_weights(part):
    return part.X, part.sample_weight


def random_rows(rows, n_clusters, frame, random_state):
    """``"random"``, as the module describes it."""
    chosen = choose_rows(rows, random_state, n_clusters)
    return rows.pick(chosen) if rows.sparse else rows.take(chosen)


class Given(NamedTuple):
    """A start from centres that the user gave, in the rows' coordinates."""

    centers: np.ndarray

    def __call__(self, rows, n_clusters, frame, random_state):
        return self.centers


class Called(NamedTuple):
    """A start from a function that the user gave; ``factor`` leads to the rows' coordinates."""

    function: Callable
    X: Any
    factor: float

    def __call__(self, rows, n_clusters, frame, random_state):
        centers = self.function(self.X, n_clusters, random_state=random_state)
        if hasattr(centers, "toarray"):
            centers = centers.toarray()
        return check_centers(centers, rows, n_clusters) * self.factor


def check_centers(centers: Any, rows: Rows, n_clusters: int) -> np.ndarray:
    """Centres as a copy in the rows' dtype.

    Raises
    ------
    ValueError
        If they aren't finite or of the wrong shape, in scikit-learn's words.
    """
    centers = check_array(centers, dtype=rows.dtype, copy=True, order="C")
    if centers.shape[0] != n_clusters:
        raise ValueError(
            f"The shape of the initial centers {centers.shape} does not "
            f"match the number of clusters {n_clusters}."
        )
    if centers.shape[1] != rows.n_features:
        raise ValueError(
            f"The shape of the initial centers {centers.shape} does not "
            f"match the number of features of the data {rows.n_features}."
        )
    return centers
