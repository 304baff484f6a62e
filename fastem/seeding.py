"""Where K-means starts.

Every strategy is a function ``(rows, n_clusters, frame, random_state)`` that returns centres
relative to the frame's origin as an ndarray of shape (n_clusters, n_features), float64.

- ``"k-means++"``: Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding",
  SODA 2007, with several candidates for each seed, of which the best is taken.
- ``"k-means||"``: Bahmani, Moseley, Vattani, Kumar and Vassilvitskii, "Scalable k-means++",
  VLDB 2012.
- ``"random"``: random rows (Forgy 1965).
- ``"random_partition"``: the averages of a random partition of the rows (MacQueen 1967).
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from sklearn.utils import check_array

from fastem.kernels.coarse_seeding import CoarseSeeder
from fastem.kernels.kmeans import Frame, choose
from fastem.kernels.seeding import GreedySeeder
from fastem.kernels.sparse_seeding import SparseGreedySeeder
from fastem.rows import Part, array_rows
from fastem.sampling import choose_rows, count_positive

# k-means||: candidates of a round as a multiple of the clusters, and rounds.
_OVERSAMPLING = 2
_ROUNDS = 5
# Rows of so many float64 features get a coarse copy for k-means++.
_COARSE_FEATURES = 16
# Up to so many rows are sorted for k-means++.
FEW_ROWS = 100
# Rows that share one seed of their random numbers, wherever the rows live.
_BLOCK_ROWS = 1 << 14


def greedy_kmeans_plusplus(
    rows: Any,
    n_clusters: int,
    frame: Frame,
    random_state: np.random.RandomState,
    n_local_trials: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy k-means++ on scikit-learn's random stream: the same state picks the same rows.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
    n_clusters : int
    frame : Frame
    random_state : RandomState
    n_local_trials : int or None
        Candidates for each seed but the first; None for 2 + log(n_clusters).

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_features), float64
        Relative to the frame's origin.
    indices : ndarray of shape (n_clusters,), int
    """
    indices = draw_greedily(rows, n_clusters, random_state, n_local_trials, _start, frame)
    return rows.take(indices) - frame.origin, indices


def draw_greedily(
    rows: Any,
    n_clusters: int,
    random_state: np.random.RandomState,
    n_local_trials: int | None,
    start: Callable,
    *args: Any,
) -> np.ndarray:
    """The indices of seeds, each the best of several drawn by their part in the potential.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
    n_clusters : int
    random_state : RandomState
    n_local_trials : int or None
        Candidates for each seed but the first; None for 2 + log(n_clusters).
    start : callable
        A step ``(part, *args, point)`` that puts a seeder into ``part.state["seeder"]``, makes the
        point its first seed and returns the part's offset and potential.
    *args
        Passed to ``start``.

    Returns
    -------
    ndarray of shape (n_clusters,), int
    """
    if n_local_trials is None:
        n_local_trials = 2 + int(np.log(n_clusters))
    indices = np.empty(n_clusters, int)
    indices[:1] = choose_rows(rows, random_state, 1)
    potentials = rows.map(start, *args, rows.take(indices[:1])[0])
    for seed in range(1, n_clusters):
        current = sum(potential for _, potential in potentials)
        values = random_state.uniform(size=n_local_trials) * current
        candidates = _locate(rows, potentials, values)
        # The best one is among those that may gain more than another gains for certain.
        least, most = rows.reduce(_screen, rows.take(candidates))
        kept = np.flatnonzero(~(most < least.max()))
        best = int(np.argmin(rows.reduce(_try, kept)))
        potentials = rows.map(_accept, best)
        indices[seed] = candidates[kept[best]]
    rows.map(_forget, "seeder")
    return indices


def _start(part, frame, point):
    part.state["seeder"] = _seeder(part, frame)
    return part.offset, part.state["seeder"].add(point)


def _seeder(part, frame):
    if not isinstance(part.X, np.ndarray):
        return SparseGreedySeeder(part.X, part.sample_weight, frame.scale)
    if part.X.dtype == np.float64 and part.X.shape[1] >= _COARSE_FEATURES:
        return CoarseSeeder(part.X, part.sample_weight, frame.scale, frame.origin)
    return GreedySeeder(part.X, part.sample_weight, frame.scale)


def _screen(part, candidates):
    return part.state["seeder"].screen(candidates)


def _try(part, kept):
    return part.state["seeder"].try_candidates(kept)


def _accept(part, index):
    return part.offset, part.state["seeder"].accept(index)


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
    return part.offset + part.state["seeder"].locate(wanted[part.offset])


def _forget(part, *names):
    for name in names:
        del part.state[name]


def spare_rows(rows, random_state, size):
    """Random rows, different ones as long as there are any of positive weight."""
    n_different = min(size, rows.reduce(count_positive))
    return np.resize(choose_rows(rows, random_state, n_different), size)


def kmeans_plusplus(rows, n_clusters, frame, random_state):
    """``"k-means++"``, as the module describes it; few rows are drawn from sorted."""
    if rows.n_rows <= FEW_ROWS:
        rows = sorted_by_value(rows)
    return greedy_kmeans_plusplus(rows, n_clusters, frame, random_state)[0]


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
    keys = X @ direction if rows.sparse else (X * direction).sum(axis=1)
    order = np.argsort(keys, kind="stable")
    weights = np.concatenate([weight for _, weight in parts])[order] if rows.weighted else None
    return array_rows(X[order], weights)


def _rows_and_weights(part):
    return part.X, part.sample_weight


def random_rows(rows, n_clusters, frame, random_state):
    """``"random"``, as the module describes it."""
    return rows.take(choose_rows(rows, random_state, n_clusters)) - frame.origin


def random_partition(rows, n_clusters, frame, random_state):
    """``"random_partition"``, as the module describes it; a random row where no row fell."""
    sums, weights = rows.reduce(
        _partition, n_clusters, frame.origin, block_seeds(rows.n_rows, random_state)
    )
    empty = np.flatnonzero(weights == 0)
    if len(empty):
        sums[empty] = rows.take(spare_rows(rows, random_state, len(empty))) - frame.origin
        weights[empty] = 1.0
    return sums / weights[:, np.newaxis]


def _partition(part, n_clusters, origin, seeds):
    sums, weights = np.zeros((n_clusters, part.X.shape[1])), np.zeros(n_clusters)
    for block, labels in random_labels(part, n_clusters, seeds):
        weight = _weights(part, block)
        np.add.at(sums, labels, _centered(part, block, origin) * weight[:, np.newaxis])
        np.add.at(weights, labels, weight)
    return sums, weights


def scalable_kmeans_plusplus(rows, n_clusters, frame, random_state):
    """``"k-means||"``, as the module describes it; the candidates are reduced by k-means++."""
    candidates = rows.take(choose_rows(rows, random_state, 1)) - frame.origin
    potential = rows.reduce(_approach, candidates, 0, frame)
    for _ in range(_ROUNDS):
        if potential <= 0:
            break
        seeds = block_seeds(rows.n_rows, random_state)
        factor = _OVERSAMPLING * n_clusters / potential
        chosen = np.concatenate(rows.map(_sample, factor, seeds))
        if len(chosen) == 0:
            continue
        n_before = len(candidates)
        candidates = np.concatenate([candidates, rows.take(chosen) - frame.origin])
        potential = rows.reduce(_approach, candidates[n_before:], n_before, frame)
    weights = rows.reduce(_count, len(candidates))
    rows.map(_forget, "distances", "candidates")
    candidates, weights = candidates[weights > 0], weights[weights > 0]
    missing = n_clusters - len(candidates)
    if missing > 0:
        extra = rows.take(spare_rows(rows, random_state, missing)) - frame.origin
        return np.concatenate([candidates, extra])
    return kmeans_plusplus(
        array_rows(candidates, weights),
        n_clusters,
        frame._replace(origin=np.zeros(rows.n_features)),
        random_state,
    )


def _approach(part, new, n_before, frame):
    """Compare every row with new candidates; returns the sum of the weighted distances."""
    state = part.state
    if n_before == 0:
        state["distances"] = np.full(part.n_rows, np.inf)
        state["candidates"] = np.zeros(part.n_rows, np.int32)
    sparse = not isinstance(part.X, np.ndarray)
    algorithm = choose("lloyd", *part.X.shape, len(new), part.X.dtype, sparse)
    algorithm = algorithm(part.X, None, len(new), frame)
    algorithm.label_rows(new)
    potential = 0.0
    for start in range(0, part.n_rows, _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        nearest = algorithm.labels[block]
        closest, candidates = state["distances"][block], state["candidates"][block]
        differences = _centered(part, block, frame.origin) - new[nearest]
        distances = np.einsum("ij,ij->i", differences, differences)
        nearer = distances < closest
        closest[nearer] = distances[nearer]
        candidates[nearer] = n_before + nearest[nearer]
        # Not a dot product: OpenBLAS' threads would start and stop for each block.
        potential += float((closest * _weights(part, block)).sum())
    return potential


def _sample(part, factor, seeds):
    chosen = []
    for block, generator, drawn in _blocks(part, seeds):
        values = generator.random_sample(_BLOCK_ROWS)[drawn]
        probabilities = factor * part.state["distances"][block] * _weights(part, block)
        chosen.append(part.offset + block.start + np.flatnonzero(values < probabilities))
    return np.concatenate(chosen)


def _count(part, n_candidates):
    weights = np.zeros(n_candidates)
    for start in range(0, part.n_rows, _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        labels = part.state["candidates"][block]
        weights += np.bincount(labels, _weights(part, block), n_candidates)
    return weights


def block_seeds(n_rows, random_state):
    return random_state.randint(2**31, size=-(-n_rows // _BLOCK_ROWS))


def random_labels(part: Part, n_clusters: int, seeds: Any) -> Iterator[tuple[slice, np.ndarray]]:
    """A part's rows in blocks, and a random cluster for each row."""
    for block, generator, drawn in _blocks(part, seeds):
        yield block, generator.randint(n_clusters, size=_BLOCK_ROWS)[drawn]


def _blocks(part: Part, seeds) -> Iterator[tuple[slice, np.random.RandomState, slice]]:
    """A part's rows in blocks that don't depend on how the rows are split into parts.

    Yields the block's rows in the part, the block's random generator, and which of its
    ``_BLOCK_ROWS`` numbers belong to these rows.
    """
    first = part.offset
    end = part.offset + part.n_rows
    while first < end:
        number, skipped = divmod(first, _BLOCK_ROWS)
        last = min((number + 1) * _BLOCK_ROWS, end)
        block = slice(first - part.offset, last - part.offset)
        generator = np.random.RandomState(seeds[number])
        yield block, generator, slice(skipped, skipped + last - first)
        first = last


def _centered(part, block, origin):
    x = part.X[block]
    return (x if isinstance(x, np.ndarray) else x.toarray()) - origin


def _weights(part, block):
    if part.sample_weight is not None:
        return part.sample_weight[block]
    return np.ones(min(block.stop, part.n_rows) - block.start)


class Given(NamedTuple):
    """A start from centres that the user gave, in the rows' coordinates."""

    centers: np.ndarray

    def __call__(self, rows, n_clusters, frame, random_state):
        return self.centers - frame.origin


class Called(NamedTuple):
    """A start from a function that the user gave; ``factor`` leads to the rows' coordinates."""

    function: Callable
    X: Any
    factor: float

    def __call__(self, rows, n_clusters, frame, random_state):
        centers = self.function(self.X, n_clusters, random_state=random_state)
        if hasattr(centers, "toarray"):
            centers = centers.toarray()
        return check_centers(centers, self.X, n_clusters) * self.factor - frame.origin


def check_centers(centers: Any, X: Any, n_clusters: int) -> np.ndarray:
    """Centres as a copy in the data's dtype.

    Raises
    ------
    ValueError
        If they aren't finite or of the wrong shape, in scikit-learn's words.
    """
    centers = check_array(centers, dtype=X.dtype, copy=True, order="C")
    if centers.shape[0] != n_clusters:
        raise ValueError(
            f"The shape of the initial centers {centers.shape} does not "
            f"match the number of clusters {n_clusters}."
        )
    if centers.shape[1] != X.shape[1]:
        raise ValueError(
            f"The shape of the initial centers {centers.shape} does not "
            f"match the number of features of the data {X.shape[1]}."
        )
    return centers


STRATEGIES: dict[str, Callable] = {
    "k-means++": kmeans_plusplus,
    "k-means||": scalable_kmeans_plusplus,
    "random": random_rows,
    "random_partition": random_partition,
}
