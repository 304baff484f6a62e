"""How a search adds and removes components of a mixture, judged on a sample of the rows.

Components that gain most by it are split: each one's share of the sample goes through a few
iterations of a mixture of two of its kind. Components are removed whose rows the others explain
best. Whether a breath is kept is up to the objective over all rows.

N. Ueda, R. Nakano, Z. Ghahramani and G. E. Hinton, "SMEM algorithm for mixture models", Neural
Computation 12, 2000, split and merge one triple of components at a time.
"""

from typing import Any

import numpy as np

from fastem.kernels.mixtures.alike import squared_differences
from fastem.kernels.mixtures.removing import removed
from fastem.loop.model import Until
from fastem.loop.search import Breathing, Moves, Offers, Pace, Settled
from fastem.mixtures.halving import halvings
from fastem.mixtures.model import MixtureModel, Split
from fastem.mixtures.sampled import Sample
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
# EM's for two components.
_ITERATIONS = 4
_UNTIL = Until(-np.inf, np.inf, _ITERATIONS)
# Responsibilities are about the same if their squared difference is at most this share of their
# square: twelve kinds of rows ended as high in 0.73 of the time, with five times as much lower.
_ALIKE = 1e-2

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
        splits_of = self._surveyed.same(responsibilities, sample.weight)
        new = [component for component, known in enumerate(splits_of) if known is None]
        found = self._splits(model, sample, parameters, new, responsibilities[:, new])
        for component, splits in zip(new, found, strict=True):
            splits_of[component] = splits
        self._surveyed = Surveyed(responsibilities, splits_of)
        least = self._least_half * model.row_unit
        splits = [
            (component, split)
            for component, found in enumerate(splits_of)
            for split in found
            if split.gain > 0 and split.least >= least
        ]
        gains = np.array([split.gain for _, split in splits]) / sample.weight.sum()
        components = np.array([component for component, _ in splits], int)
        return rows.agree(Offers(gains, components, [split.children for _, split in splits]))

    def grow(self, model, settled, offers, chosen):
        parameters = settled.parameters
        components = offers.components[chosen].tolist()
        whole = parameters.weights, *model.arrays(parameters)
        pairs = []
        for component, offer in zip(components, chosen, strict=True):
            pair, one = offers.children[offer], [array[component] for array in whole[1:]]
            counts = settled.statistics.counts[component] * pair.weights
            halves = model.halves(one, model.arrays(pair), counts)
            pairs.append((parameters.weights[component] * pair.weights, *halves))
        grown = []
        for values, both in zip(whole, zip(*pairs, strict=True), strict=True):
            values = np.concatenate([values, *(pair[1:] for pair in both)])
            for component, pair in zip(components, both, strict=True):
                values[component] = pair[0]
            grown.append(values)
        return model.replaced(parameters, grown[0], grown[1:])

    def settle(self, model, rows, parameters, until):
        found = model.settled(rows, parameters, until)
        if found is None:
            return None
        updated, statistics, history = found
        return Settled(updated, None, statistics, history[-1]), len(history)

    def breathe(self, model, rows, parameters, untils):
        sample = self._sample_of(model, rows)
        found = model.breathed(rows, sample, parameters, untils)
        if found is None:
            return None
        updated, statistics, history, n_iter = found
        return Settled(updated, None, statistics, history[-1]), n_iter

    def shrink(self, model, rows, settled, size):
        parameters, sample = settled.parameters, self._sample_of(model, rows)
        shares = self._responsibilities(model, sample, parameters)
        weights = parameters.weights
        gone = rows.agree(removed(shares, sample.weight, weights, size))
        kept = np.delete(np.arange(len(weights)), gone)
        # Added up one after the other, as the kernels that breathe at once do it.
        weights = weights[kept] * (np.cumsum(weights)[-1] / np.cumsum(weights[kept])[-1])
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

    def _splits(self, model, sample, parameters, components, shares):
        """What becomes of components that are split, with their shares of the sample.

        By Jensen's inequality the log-likelihood of all gains no less than that of their shares.
        """
        shares = np.where(shares > _LEAST_SHARE, shares, 0.0)
        totals = sample.weight @ shares
        enough = np.flatnonzero(totals >= 2 * self._least_half * model.row_unit)
        found = [[] for _ in components]
        if len(enough) == 0:
            return found
        some = [components[number] for number in enough]
        ones = model.replaced(
            model.alone(parameters),
            np.ones(len(some)),
            [array[some] for array in model.arrays(parameters)],
        )
        shares = shares[:, enough]
        at_once = model.splits(sample, shares, ones, _UNTIL)
        if at_once is None:
            at_once = (
                list(_one_by_one(model, sample, ones, number, own))
                for number, own in enumerate(shares.T)
            )
        for number, splits in zip(enough, at_once, strict=True):
            found[number] = splits
        return found


def _one_by_one(model, sample, ones, number, shares):
    """The splits of one of these components, as of :meth:`MixtureModel.splits`."""
    own = np.flatnonzero(shares)
    X, weight = sample.X[own], shares[own] * sample.weight[own]
    one = model.replaced(ones, np.ones(1), [array[[number]] for array in model.arrays(ones)])
    total, rows = weight.sum(), array_rows(X, weight)
    single, pair = model.sampled(1, total), model.sampled(2, total)
    # Together as dense as the one, in a pass that pairs take, too.
    alike = model.replaced(
        one, np.full(2, 0.5), [np.concatenate([array, array]) for array in model.arrays(one)]
    )
    try:
        before = single.objective(pair.e_step(rows, alike), one)
        firsts = [first for first in halvings(X, weight) if 0 < first.sum() < len(first)]
    except _FAILURES:
        return
    for first in firsts:
        try:
            children, statistics = _iterated_halves(pair, rows, one, first)
        except _FAILURES:
            continue
        gain = (pair.objective(statistics, children) - before) * total
        yield Split(gain, statistics.counts.min(), children)


def _iterated_halves(pair, rows, one, first):
    """The parameters to which a component's halves lead, and the last statistics."""
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
    return both, statistics


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
        differences, norms = squared_differences(self._responsibilities, responsibilities, weight)
        nearest = differences.argmin(axis=0)
        alike = differences.min(axis=0) <= _ALIKE * norms
        return [
            self._splits[number] if is_alike else None
            for number, is_alike in zip(nearest.tolist(), alike.tolist(), strict=True)
        ]


def make_search(name: str | None, least_rows: float) -> Breathing | None:
    """The search of this name, None for None."""
    return None if name is None else Breathing(MixtureMoves(least_rows), PACES[name])
