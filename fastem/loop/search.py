"""A search that leaves local optima: it goes on from where a run has ended.

It breathes. Components are added where they gain most, the iterations settle, as many are removed
where that costs least, the iterations settle again, and what is better is kept. Where nothing is,
it breathes less deep. The idea is B. Fritzke's, arXiv 2006.15666, 2020, who adds copies a little
off; what is added and removed here is up to :class:`Moves`.
"""

import math
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastem.loop.callbacks import UNWATCHED
from fastem.loop.fit import iterate
from fastem.loop.model import Model, Run, Until
from fastem.validation import random_numbers


class Settled(NamedTuple):
    """Where iterations have settled.

    Parameters
    ----------
    parameters : object
        After the last M-step.
    assigned : object
        Before it: the last E-step's.
    statistics : object
        What this returned.
    objective : float
        Of ``assigned``.
    """

    parameters: Any
    assigned: Any
    statistics: Any
    objective: float


class Offers(NamedTuple):
    """What there is to gain by more components.

    Parameters
    ----------
    gains : ndarray of shape (n_offers,)
        Of each offer; there is nothing to add where it isn't positive.
    components : ndarray of shape (n_offers,)
        Which one is split in two; at most one of its offers is taken.
    children : sequence of n_offers
        What takes its place, as :meth:`Moves.grow` understands it.
    """

    gains: np.ndarray
    components: np.ndarray
    children: Any


class Moves(Protocol):
    """What a search asks of a kind of models."""

    def gathered(self, model: Any, rows: Any) -> Any:
        """The rows as the search shall see them, perhaps in another order."""
        return rows

    def settle(
        self, model: Any, rows: Any, parameters: Any, until: Until
    ) -> tuple[Settled, int] | None:
        """Where iterations settle that nobody watches, and how many; None to go step by step."""
        return None

    def breathe(
        self, model: Any, rows: Any, parameters: Any, untils: tuple[Until, Until]
    ) -> tuple[Settled, int] | None:
        """Where a breath leads that nobody watches, from more components on; None as above."""
        return None

    def n_components(self, model: Any) -> int:
        """How many components a model has."""

    def resized(self, model: Any, n_components: int) -> Any:
        """The same model for another number of components."""

    def survey(self, model: Any, rows: Any, settled: Settled) -> Offers:
        """What there is to gain by more components, where the model's iterations have settled."""

    def grow(self, model: Any, settled: Settled, offers: Offers, chosen: np.ndarray) -> Any:
        """The parameters once the chosen offers are taken."""

    def ahead(self, model: Any, settled: Settled) -> Any:
        """The next iteration's parameters, which may lie ahead of the M-step's."""

    def shrink(self, model: Any, rows: Any, settled: Settled, size: int) -> Any:
        """Parameters of ``size`` components less, where the iterations have just settled."""

    #: What the objective is called.
    measure: str = "objective"

    #: What iterations may raise that lead nowhere: they count as vain.
    failures: tuple[type[Exception], ...]

    def sound(self, model: Any, settled: Settled, best: Settled) -> bool:
        """Whether an objective that is better than the best is to be trusted."""

    def gain(self, objective: float, before: float) -> float:
        """By how much an objective is better, as a share or where 1 is much."""


class Pace(NamedTuple):
    """How long a search goes on.

    Parameters
    ----------
    patience : int
        Vain breaths in a row at each depth, before the next ones are less deep. The second and
        further ones try their luck.
    depth : float
        Components that are added at first, as a share of those there are.
    shallower : int
        How many times as few are after that.
    least_gain : float
        An improvement by less is not kept.
    settled : float
        Iterations have settled when they improve by less.
    settled_wide : float
        The same while there are more components: where these come to lie need not be known well.
    most_iterations : int
        But there are no more than so many until they have.
    hopeless : float
        A breath ends as soon as it is behind the best by more than so many times what its last
        iteration has gained.
    patience_of_few : int
        As ``patience`` if it is more, where there are fewer than eight components: so few can't
        breathe less and less deep.
    """

    patience: int
    depth: float = 0.5
    shallower: int = 2
    least_gain: float = 1e-4
    settled: float = 3e-4
    settled_wide: float = 1e-2
    most_iterations: int = 20
    hopeless: float = math.inf
    patience_of_few: int = 0


_ONE = Until(-math.inf, math.inf, 1)
# Components that are added at first, at least.
_LEAST_DEPTH = 2
_FEW = 8
# Luck multiplies gains by up to this power of e, or divides them.
_LUCK = 2.0
# How often it is tried to choose what hasn't been tried.
_DRAWS = 8


def most_gaining(offers: Offers, size: int, luck: np.random.RandomState | None) -> np.ndarray:
    """The numbers of up to ``size`` offers that gain most, or with luck about as much, sorted."""
    gains = offers.gains
    if luck is not None:
        gains = gains * np.exp(luck.uniform(-_LUCK, _LUCK, size=len(gains)))
    order = np.argsort(-gains, kind="stable")
    order = order[gains[order] > 0]
    chosen: dict[int, int] = {}
    for offer, component in zip(order.tolist(), offers.components[order].tolist(), strict=True):
        if len(chosen) == size:
            break
        chosen.setdefault(component, offer)
    return np.sort(np.array(list(chosen.values()), int))


class Breathing:
    """A search for the loop, as the module describes it.

    Parameters
    ----------
    moves : Moves
    pace : Pace
    """

    def __init__(self, moves: Moves, pace: Pace):
        self.moves = moves
        self.pace = pace

    def __call__(
        self, model: Model, rows: Any, run: Run, max_iter: int, verbose: int, task: Any
    ) -> Run:
        """The run that is found from a run that has ended, which it is never worse than.

        The history goes on with the best objective so far for each iteration, whether the breath
        that it belonged to was kept or not.
        """
        plain = model.plain
        gathered = self.moves.gathered(plain, rows)
        iterations = _Iterations(self, plain, gathered, run, max_iter, task)
        try:
            first = iterations.step(plain, run.parameters)
        except self.moves.failures:  # of a run that was stopped before it collapsed
            model.revisit(rows, run)
            return run
        with random_numbers(0) as luck:
            best = self._breathe_on(iterations, first, luck, verbose)
        n_before, found = run.n_iter, None
        if best is not first:
            model.begin(rows)
            left = 1 if iterations.stopped else max_iter
            try:
                found = iterate(model, rows, best.parameters, left, verbose, task)
                iterations.history += found.history
            except self.moves.failures:
                found = None
        if found is not None and self.moves.gain(found.objective, run.objective) > 0:
            found.history = iterations.history
            return found
        model.revisit(rows, run)
        run.history += [run.objective] * (len(iterations.history) - n_before)
        return run

    def _breathe_on(self, iterations, best, luck, verbose):
        """Where breaths lead, less and less deep ones."""
        n_components = self.moves.n_components(iterations.model)
        size = min(max(int(self.pace.depth * n_components), _LEAST_DEPTH), n_components - 1)
        few = n_components < _FEW
        patience = max(self.pace.patience, self.pace.patience_of_few if few else 0)
        choices, vain = None, 0
        while size > 0 and not iterations.stopped:
            if choices is None:
                offers = self.moves.survey(iterations.model, iterations.rows, best)
                choices = _Choices(offers, luck)
            chosen = choices.next(size, lucky=vain > 0)
            trial = None if chosen is None else self._better(iterations, best, choices, chosen)
            if verbose:
                outcome = (
                    "no better" if trial is None else f"{self.moves.measure} {trial.objective}"
                )
                print(f"Search by {size}: {outcome}.")
            if trial is not None:
                best, choices, vain = trial, None, 0
                iterations.best = best
                continue
            vain += 1
            if chosen is None or vain == patience:
                size, vain = size // self.pace.shallower, 0
        return best

    def _better(self, iterations, best, choices, chosen):
        """Where a breath from the best so far leads, None if that is no better."""
        try:
            trial = self._breathe(iterations, best, choices.offers, chosen)
        except self.moves.failures:
            return None
        if trial is None:
            return None
        gain = self.moves.gain(trial.objective, best.objective)
        sound = self.moves.sound(iterations.model, trial, best)
        return trial if gain > self.pace.least_gain and sound else None

    def _breathe(self, iterations, best, offers, chosen):
        """Where a breath leads, None if a watcher has stopped it."""
        model, size = iterations.model, len(chosen)
        parameters = self.moves.grow(model, best, offers, chosen)
        found = iterations.breathe(parameters, best.objective)
        if found is not None:
            return found
        wide = self.moves.resized(model, self.moves.n_components(model) + size)
        wide.begin(iterations.rows)
        settled = iterations.settle(wide, parameters, iterations.wide)
        if iterations.stopped:
            return None
        parameters = self.moves.shrink(wide, iterations.rows, settled, size)
        model.begin(iterations.rows)
        return iterations.settle(model, parameters, iterations.until(best.objective))


class _Choices:
    """What breaths from one place choose of its offers: never the same twice."""

    def __init__(self, offers, luck):
        self.offers = offers
        self._luck = luck
        self._tried = set()

    def next(self, size, lucky):
        """Up to ``size`` offers, by luck or those that gain most; None if all has been tried."""
        for draw in range(_DRAWS):
            chosen = most_gaining(self.offers, size, self._luck if lucky or draw else None)
            key = tuple(chosen.tolist())
            if key and key not in self._tried:
                self._tried.add(key)
                return chosen
        return None


class _Iterations:
    """The iterations of a search, which watchers see as the run's."""

    def __init__(self, search, model, rows, run, max_iter, task):
        self.model, self.rows = model, rows
        self.best = run
        self.history = list(run.history)
        self.stopped = False
        self._moves = search.moves
        self._gain = search.moves.gain
        most = min(max_iter, search.pace.most_iterations)
        self.wide = Until(search.pace.settled_wide, math.inf, most)
        self._until = Until(search.pace.settled, math.inf, most, hopeless=search.pace.hopeless)
        self._task = task

    def step(self, model, parameters):
        """One iteration."""
        task = self._task.subtask("iteration", parameters=self.best.parameters)
        # By the same code as several at once, so that what is watched is what is found otherwise.
        found = self._moves.settle(model, self.rows, parameters, _ONE)
        if found is None:
            statistics = model.e_step(self.rows, parameters)
            updated = model.m_step(self.rows, statistics, parameters)
            objective = model.objective(statistics, parameters)
            settled = Settled(updated, parameters, statistics, objective)
        else:
            settled, _ = found
        self.history.append(self.best.objective)
        self.stopped |= task.end(self.best.parameters)
        return settled

    def until(self, best):
        """How long iterations go on of as many components as the best has."""
        return self._until._replace(best=best)

    def breathe(self, parameters, best):
        """A breath at once; None if it has to be taken step by step."""
        if self._task is not UNWATCHED:
            return None
        untils = self.wide, self.until(best)
        return self._noted(self._moves.breathe(self.model, self.rows, parameters, untils))

    def settle(self, model, parameters, until):
        """Iterate until the gain is less, the best is too far away, or a watcher asks to stop."""
        if self._task is UNWATCHED:
            found = self._noted(self._moves.settle(model, self.rows, parameters, until))
            if found is not None:
                return found
        settled = self.step(model, parameters)
        for _ in range(1, until.most):
            if self.stopped:
                break
            before, settled = settled, self.step(model, self._moves.ahead(model, settled))
            gain = self._gain(settled.objective, before.objective)
            if gain < until.tol:
                break
            behind = 0.0 if until.best is None else self._gain(until.best, settled.objective)
            if behind > max(until.hopeless * gain, 0.0):
                break
        return settled

    def _noted(self, found):
        """Where iterations at once have settled, if they have; the history knows of them."""
        if found is None:
            return None
        settled, n_iter = found
        self.history += [self.best.objective] * n_iter
        return settled
