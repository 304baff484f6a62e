"""Squared extrapolation, which makes EM converge in fewer passes."""

import math

import numpy as np

# What a leap's greatest length is multiplied with after a bad leap, and after others.
_SHORTER, _LONGER = 0.5, 4.0


class SquaremMixin:
    """Extrapolates a model's EM steps; stands before it in the bases of a class.

    After two EM steps from x0 to x1 and x2 it leaps to ``x0 + 2 a r + a**2 v``, where ``r`` is
    ``x1 - x0``, ``v`` is ``x2 - 2 x1 + x0`` and ``a`` is ``|r| / |v|``. If the objective fell, it
    goes on from x2 instead and leaps less far for a while, so the history never shows a fall.

    The model has two further methods: ``coordinates(parameters, base)``, a vector in which ``base``
    itself is zero, and its inverse ``at(coordinates, base)``. Each returns None where there are no
    such coordinates or parameters.

    Varadhan and Roland, "Simple and globally convergent methods for accelerating the convergence of
    any EM algorithm", Scandinavian Journal of Statistics 35, 2008: their third step length.
    """

    def start(self, rows, random_state):
        self._first = None  # where the pair of EM steps under way began
        self._fallback = None  # where to go on from if the leap just made was bad
        self._reached = -math.inf
        self._longest = math.inf
        return super().start(rows, random_state)

    def e_step(self, rows, parameters):
        statistics = super().e_step(rows, parameters)
        if self._fallback is not None:
            if not self.objective(statistics, parameters) >= self._reached:
                self._longest = max(self._length * _SHORTER, 1.0)
                parameters = self._fallback
                statistics = super().e_step(rows, parameters)
            else:
                self._longest *= _LONGER
            self._fallback = None
        self._reached = self.objective(statistics, parameters)
        self._here = parameters
        return statistics

    def m_step(self, rows, statistics, parameters):
        updated = super().m_step(rows, statistics, self._here)
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
        super().finish(rows, run)

    def _leap(self, first, second, third):
        step, both = (self.coordinates(parameters, first) for parameters in (second, third))
        if step is None or both is None:
            return None
        change = both - 2.0 * step
        bend = np.linalg.norm(change)
        length = np.linalg.norm(step) / bend if bend > 0.0 else 1.0
        length = self._length = min(length, self._longest)
        if not 1.0 < length < math.inf:  # at 1 the leap is the EM step itself
            self._longest *= _LONGER
            return None
        return self.at(2.0 * length * step + length**2 * change, first)
