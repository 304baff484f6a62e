"""Squared extrapolation, which makes EM converge in fewer passes."""

import math
from typing import Any, Protocol

import numpy as np

from fastem.loop.model import Model

# What a leap's greatest length is multiplied with after a bad leap, and after others.
_SHORTER, _LONGER = 0.5, 4.0


class Coordinates(Protocol):
    """In what coordinates a model's parameters are extrapolated."""

    def of(self, parameters: Any, base: Any) -> np.ndarray | None:
        """A vector in which ``base`` itself is zero; None if there is none."""

    def at(self, coordinates: np.ndarray, base: Any) -> Any | None:
        """The parameters at such a vector; None if there are none."""


class Accelerated(Model):
    """A model whose EM steps are extrapolated.

    After two EM steps from x0 to x1 and x2 it leaps to ``x0 + 2 a r + a**2 v``, where ``r`` is
    ``x1 - x0``, ``v`` is ``x2 - 2 x1 + x0`` and ``a`` is ``|r| / |v|``. If the objective fell, it
    goes on from x2 instead and leaps less far for a while, so the history never shows a fall.

    Varadhan and Roland, "Simple and globally convergent methods for accelerating the convergence of
    any EM algorithm", Scandinavian Journal of Statistics 35, 2008: their third step length.

    Parameters
    ----------
    model : Model
    coordinates : Coordinates
    """

    def __init__(self, model: Model, coordinates: Coordinates):
        self.model = model
        self.coordinates = coordinates
        self.tol = model.tol
        self.warns = model.warns

    @property
    def plain(self):
        return self.model

    def begin(self, rows):
        self._first = None  # where the pair of EM steps under way began
        self._fallback = None  # where to go on from if the leap just made was bad
        self._reached = -math.inf
        self._longest = math.inf
        self.model.begin(rows)

    def e_step(self, rows, parameters):
        if self._fallback is None:
            statistics = self.model.e_step(rows, parameters)
        else:
            statistics = self._judged(rows, parameters)
            if statistics is None:
                self._longest = max(self._length * _SHORTER, 1.0)
                parameters = self._fallback
                statistics = self.model.e_step(rows, parameters)
            else:
                self._longest *= _LONGER
            self._fallback = None
        self._reached = self.model.objective(statistics, parameters)
        self._here = parameters
        return statistics

    def _judged(self, rows, parameters):
        """Statistics of a leap's end, or None if it is no good."""
        try:
            statistics = self.model.e_step(rows, parameters)
        except (ValueError, ArithmeticError):  # it left the parameters' range
            return None
        reached = self.model.objective(statistics, parameters)
        return statistics if reached >= self._reached else None

    def m_step(self, rows, statistics, parameters):
        updated = self.model.m_step(rows, statistics, self._here)
        if self._first is None:
            self._first = self._here
            return updated
        first, self._first = self._first, None
        leap = self._leap(first, self._here, updated)
        if leap is None:
            return updated
        self._fallback = updated
        return leap

    def finish(self, rows, run):
        if self._fallback is not None:  # a leap that nothing has judged
            run.parameters = self._fallback
        self.model.finish(rows, run)

    def _leap(self, first, second, third):
        step, both = (self.coordinates.of(parameters, first) for parameters in (second, third))
        if step is None or both is None:
            return None
        change = both - 2.0 * step
        bend = np.linalg.norm(change)
        length = np.linalg.norm(step) / bend if bend > 0.0 else 1.0
        length = self._length = min(length, self._longest)
        if not 1.0 < length < math.inf:  # at 1 the leap is the EM step itself
            self._longest *= _LONGER
            return None
        return self.coordinates.at(2.0 * length * step + length**2 * change, first)

    # The rest is the model's.

    def start(self, rows, random_state):
        return self.model.start(rows, random_state)

    def objective(self, statistics, parameters):
        # Of where the E-step was made in the end: the loop knows of the leap only.
        return self.model.objective(statistics, self._here)

    def converged(self, step):
        return self.model.converged(step)

    def better(self, rows, run, best):
        return self.model.better(rows, run, best)

    def revisit(self, rows, run):
        self.model.revisit(rows, run)

    def keep(self, rows):
        self.model.keep(rows)

    def report_start(self, number):
        self.model.report_start(number)

    def report(self, step):
        self.model.report(step)

    def report_end(self, run):
        self.model.report_end(run)
