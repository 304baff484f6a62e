"""How a search adds and removes components of a mixture, judged on a sample of the rows.

Components that gain most by it are split: each one's share of the sample goes through a few
iterations of a mixture of two of its kind. Components are removed whose rows the others explain
best. Whether a breath is kept is up to the objective over all rows.

N. Ueda, R. Nakano, Z. Ghahramani and G. E. Hinton, "SMEM algorithm for mixture models", Neural
Computation 12, 2000, split and merge one triple of components at a time.
"""

from typing import Any

import numpy as np

from fastem.kernels.linalg.factors import product
from fastem.loop.search import Breathing, Moves, Offers, Pace, Settled, Until
from fastem.mixtures.model import MixtureModel
from fastem.mixtures.sampled import Sample, least_peaked_axes
from fastem.rows import array_rows

_PACE = Pace(
    patience=2,
    depth=0.0,
    least_gain=1e-4,
    settled=1e-3,
    settled_wide=5e-3,
    most_iterations=25,
    hopeless=12.0,
)
#: The searches by name. What is gained are nats a row.
PACES = {
    "breathing": _PACE,
    "patient-breathing": _PACE._replace(patience=8, most_iterations=50),
}

# Rows of the sample, at least and for each component, but for dense rows' values.
_SAMPLE_ROWS, _ROWS_PER_COMPONENT, _MOST_VALUES = 4096, 256, 1 << 23
# Rows count for a component that has at least this share of them.
_LEAST_SHARE = 1e-3
# Power iterations towards the direction of greatest spread, and EM's for two components.
_POWER_ITERATIONS, _ITERATIONS = 5, 4
_UNTIL = Until(-np.inf, _ITERATIONS, None, np.inf)
# With more features, fourth moments cost too much, and tell little.
_MOST_FEATURES = 64
# Responsibilities are about the same if their squared difference is at most this share of their
# square: twelve kinds of rows ended as high in 0.73 of the time, with five times as much lower.
_ALIKE = 1e-2
# A share of one is taken for so much less: what the others have is not known any better.
_MOST_SHARE = 1.0 - 1e-12

_EPS = np.finfo(np.float64).eps
_FAILURES = (ValueError, ArithmeticError, np.linalg.LinAlgError)


class MixtureMoves(Moves):
    """The moves of a search, for any mixture; a fit has its own.

    Parameters
    ----------
    least_rows : float
        Components of fewer are not kept: they may owe their likelihood to chance. On the way there
        may be components of half as many, without which three of 50 rows can't be left.
    """

    #: A component collapses, or explains no row.
    failures: tuple[type[Exception], ...] = _FAILURES

    def __init__(self, least_rows: float):
        self._least_rows = least_rows
        self._least_half = 0.5 * least_rows
        self._sample: Sample | None = None
        self._surveyed = Surveyed(np.empty((0, 0)), [])
        self._passes: dict[int, Any] = {}

    def n_components(self, model: MixtureModel) -> int:
        return model.n_components

    def resized(self, model: MixtureModel, n_components: int) -> MixtureModel:
        return model.resized(n_components)

    def gain(self, objective: float, before: float) -> float:
        return objective - before

    def ahead(self, model: MixtureModel, settled: Settled) -> Any:
        return settled.parameters

    def sound(self, model: MixtureModel, settled: Settled, best: Settled) -> bool:
        few = self._least_rows * model.row_unit
        return np.sum(settled.statistics.counts < few) <= np.sum(best.statistics.counts < few)

    def survey(self, model: MixtureModel, rows: Any, settled: Settled) -> Offers:
        sample, parameters = self._sample_of(model, rows), settled.parameters
        responsibilities = self._responsibilities(model, sample, parameters)
        same = self._surveyed.same(responsibilities, sample.weight)
        splits_of = [
            list(self._splits(model, sample, parameters, component, shares))
            if same[component] is None
            else same[component]
            for component, shares in enumerate(responsibilities.T)
        ]
        self._surveyed = Surveyed(responsibilities, splits_of)
        splits = [
            (gain, component, children)
            for component, found in enumerate(splits_of)
            for gain, children in found
        ]
        gains = np.array([gain for gain, _, _ in splits]) / sample.weight.sum()
        components = np.array([component for _, component, _ in splits], int)
        return rows.agree(Offers(gains, components, [children for _, _, children in splits]))

    def grow(self, model, settled, offers, chosen):
        parameters = settled.parameters
        weights, arrays = parameters.weights.copy(), model.arrays(parameters)
        pairs, chosen = [offers.children[offer] for offer in chosen], offers.components[chosen]
        shares = np.array([pair.weights for pair in pairs])
        weights = np.append(weights, weights[chosen] * shares[:, 1])
        weights[chosen] *= shares[:, 0]
        children = [np.stack(both) for both in zip(*map(model.arrays, pairs), strict=True)]
        grown = [
            np.concatenate([array, pair[:, 1]])
            for array, pair in zip(arrays, children, strict=True)
        ]
        for array, pair in zip(grown, children, strict=True):
            array[chosen] = pair[:, 0]
        return model.replaced(parameters, weights, grown)

    def settle(self, model, rows, parameters, until):
        found = model.iterated(rows, parameters, until)
        if found is None:
            return None
        updated, statistics, n_iter = found
        objective = model.objective(statistics, updated)
        return Settled(updated, None, statistics, objective), n_iter

    def shrink(self, model, rows, settled, size):
        parameters, sample = settled.parameters, self._sample_of(model, rows)
        shares = self._responsibilities(model, sample, parameters)
        weights = parameters.weights.copy()
        kept = np.arange(len(weights))
        for _ in range(size):
            # Without component k and with the other weights as they are among themselves, the
            # density of a row is (1 - share k) / (1 - weight k) of what it was.
            total = weights.sum()
            lost = -(sample.weight @ np.log1p(-np.minimum(shares, _MOST_SHARE)))
            lost += sample.weight.sum() * np.log1p(-np.minimum(weights / total, _MOST_SHARE))
            least = rows.agree(int(np.argmin(lost)))
            rest = 1.0 - np.minimum(shares[:, least], _MOST_SHARE)
            shares = np.delete(shares, least, axis=1) / rest[:, np.newaxis]
            weights, kept = np.delete(weights, least), np.delete(kept, least)
            weights *= total / weights.sum()
        arrays = [array[kept] for array in model.arrays(parameters)]
        return model.replaced(parameters, weights, arrays)

    def _sample_of(self, model, rows):
        if self._sample is None:
            size = max(_SAMPLE_ROWS, _ROWS_PER_COMPONENT * model.n_components)
            if not rows.sparse:
                size = min(size, max(_MOST_VALUES // rows.n_features, 2 * model.n_components))
            self._sample = Sample.of(rows, size, np.random.RandomState(0))
        return self._sample

    def _responsibilities(self, model, sample, parameters):
        components = model.components(parameters)
        k = len(components.log_weights)
        if k not in self._passes:
            self._passes[k] = model.make_pass(sample.X, None)
        shares = np.empty((sample.X.shape[0], k + model.n_others))
        self._passes[k].evaluate(components, responsibilities=shares)
        return shares[:, : model.n_components]

    def _splits(self, model, sample, parameters, component, shares):
        """What two components gain over one in sum, and their parameters; for each way to start.

        By Jensen's inequality the log-likelihood of all gains no less.
        """
        weight = shares * sample.weight
        own = np.flatnonzero(shares > _LEAST_SHARE)
        X, weight = sample.X[own], weight[own]
        if weight.sum() < 2 * self._least_half * model.row_unit:
            return
        one = model.replaced(
            model.alone(parameters), np.ones(1), [a[[component]] for a in model.arrays(parameters)]
        )
        total, rows = weight.sum(), array_rows(X, weight)
        single, pair = model.sampled(1, total), model.sampled(2, total)
        # Together as dense as the one, in a pass that pairs take, too.
        alike = model.replaced(
            one, np.full(2, 0.5), [np.concatenate([array, array]) for array in model.arrays(one)]
        )
        try:
            before = single.objective(pair.e_step(rows, alike), one)
            halvings = [first for first in _halvings(X, weight) if 0 < first.sum() < len(first)]
        except _FAILURES:
            return
        for first in halvings:
            try:
                found = pair.iterated(rows, alike, _UNTIL, (~first).astype(np.int32))
                children, statistics, _ = found or _one_by_one(pair, rows, one, first)
            except _FAILURES:
                continue
            after = pair.objective(statistics, children)
            if after > before and statistics.counts.min() >= self._least_half * model.row_unit:
                yield (after - before) * total, children


def _one_by_one(pair, rows, one, first):
    """The iterations of a component's halves, as :meth:`MixtureModel.iterated` returns them."""
    single = pair.sampled(1, pair.total_weight)
    part, halves, counts = rows.parts[0], [], []
    for half in (first, ~first):
        some = array_rows(part.X[half], part.sample_weight[half])
        halves.append(single.m_step(some, single.e_step(some, one), one))
        counts.append(some.parts[0].sample_weight.sum())
    arrays = zip(*map(pair.arrays, halves), strict=True)
    weights = np.array(counts) / np.sum(counts)
    both = pair.replaced(one, weights, [np.concatenate(array) for array in arrays])
    for _ in range(_ITERATIONS):
        statistics = pair.e_step(rows, both)
        both = pair.m_step(rows, statistics, both)
    return both, statistics, _ITERATIONS


class Surveyed:
    """What the last survey has found for each component, for those that are as good as the same.

    Most components hardly notice a breath, and surveys take most of a search's time.

    Parameters
    ----------
    responsibilities : ndarray of shape (n_sample_rows, n_components)
    splits : list
        Of each component.
    """

    def __init__(self, responsibilities: np.ndarray, splits: list):
        if responsibilities.size > _MOST_VALUES:
            responsibilities, splits = responsibilities[:, :0], []
        self._responsibilities, self._splits = responsibilities, splits

    def same(self, responsibilities: np.ndarray, weight: np.ndarray) -> list:
        """The splits of components with about the same responsibilities, None for the others."""
        if not self._splits:
            return [None] * responsibilities.shape[1]
        earlier = np.ascontiguousarray((weight[:, np.newaxis] * self._responsibilities).T)
        norms = _products(weight, responsibilities)
        differences = _products(weight, self._responsibilities)[:, np.newaxis] + norms
        differences -= 2.0 * product(earlier, responsibilities)
        nearest = differences.argmin(axis=0)
        alike = differences.min(axis=0) <= _ALIKE * norms
        return [
            self._splits[number] if is_alike else None
            for number, is_alike in zip(nearest.tolist(), alike.tolist(), strict=True)
        ]


def _products(weight, values):
    return np.einsum("i,ij,ij->j", weight, values, values)


def _halvings(X, weight):
    """Ways to cut rows in two, of which one may find what the other doesn't.

    Across the direction of greatest correlation, and across that along which rows that have no
    other directions look most like two clusters side by side: the one of the least fourth moment
    of sphered rows. Without the latter, a component that has two of a grid's clusters is cut
    along both.
    """
    shares = weight / weight.sum()
    if X.shape[1] > _MOST_FEATURES:
        yield _projections(X, shares) > 0.0
        return
    X, gaps = _filled(X, shares)
    with np.errstate(over="ignore", invalid="ignore"):
        X -= shares @ X
        covariance = (X * shares[:, np.newaxis]).T @ X
        yield X @ _most_correlated(np.diagonal(covariance), covariance.__matmul__) > 0.0
        if gaps or X.shape[1] == 1:
            return
        variances, axes = np.linalg.eigh(covariance)
        kept = variances > max(X.shape) * _EPS * variances[-1]
        if kept.any():
            sphered = X @ (axes[:, kept] / np.sqrt(variances[kept]))
            along = sphered @ least_peaked_axes(sphered, shares)[:, 0]
            # Which way axes point is up to rounding.
            yield along * along[np.argmax(np.abs(along))] > 0.0


def _filled(X, shares):
    """The rows in a dense copy, with columns' means in place of gaps; whether there are any."""
    X = X.astype(np.float64) if isinstance(X, np.ndarray) else X.toarray().astype(np.float64)
    gaps = np.isnan(X)
    if not gaps.any():
        return X, False
    mean = np.nansum(shares[:, np.newaxis] * X, axis=0)
    return np.where(gaps, mean, X), True


def _most_correlated(variances, spread):
    """About the direction of greatest correlation; ``spread`` multiplies by the covariance."""
    variances = np.maximum(variances, 0.0)
    scales = np.divide(1.0, np.sqrt(variances), out=np.zeros(len(variances)), where=variances > 0)
    # No direction of greatest spread is likely to be at right angles to this.
    direction = np.cos(np.arange(1.0, len(scales) + 1))
    for _ in range(_POWER_ITERATIONS):
        direction = scales * spread(scales * direction)
        direction /= max(np.abs(direction).max(), np.finfo(float).tiny)
    return scales * direction


def _projections(X, shares):
    """Rows of many features along that direction, from their mean; CSR ones stay such."""
    if isinstance(X, np.ndarray):
        X, _ = _filled(X, shares)
    mean = shares @ X
    squares = X.multiply(X) if not isinstance(X, np.ndarray) else X * X

    def along(direction):
        return X @ direction - mean @ direction

    def spread(direction):
        projections = shares * along(direction)
        return projections @ X - projections.sum() * mean

    return along(_most_correlated(shares @ squares - mean**2, spread))


def make_search(name: str | None, least_rows: float) -> Breathing | None:
    """The search of this name, None for None."""
    return None if name is None else Breathing(MixtureMoves(least_rows), PACES[name])
