"""Paired runs in alternation, and what they say.

A round runs a cell with the base, with the change, and with the base again in another process;
every second round goes the other way. The change is compared with the geometric mean of the two
runs of the base about it, so that a machine that slowly gets faster or slower favours neither; the
two runs of the base differ by nothing but noise, that of processes included, and so measure it.
"""

import math
from typing import NamedTuple

import numpy as np

SAMPLE_SECONDS = 0.01  # shorter calls are repeated within a sample
MIN_ROUNDS, MAX_ROUNDS = 9, 41  # of 8 rounds the extremes hold the median in 99.2 % of all cases
CONFIDENCE = 0.99


class Interval(NamedTuple):
    """A median and an interval for it."""

    low: float
    middle: float
    high: float


class Comparison(NamedTuple):
    """A cell's figures: seconds a call, and ratios of the change's to the base's."""

    before: float
    after: float
    ratio: Interval
    noise: float  # by what factor the base seems to differ from itself

    def verdict(self, threshold: float) -> str:
        """Return "slower" or "faster" where the interval is past threshold and noise."""
        margin = (1 + threshold) * self.noise
        if self.ratio.low > margin:
            return "slower"
        return "faster" if self.ratio.high < 1 / margin else "same"


def median_interval(values, confidence: float = CONFIDENCE) -> Interval:
    """Return the median of a sample and order statistics about the median of what it is from.

    By the sign test: it assumes no distribution. Of few values they are the least and the greatest.
    """
    values = np.sort(values)
    n = len(values)
    outside, tail = 0, 0.0  # the chance that at most so many values lie below the median
    while outside < (n - 1) // 2:
        tail += math.comb(n, outside) / 2**n
        if 2 * tail > 1 - confidence:
            break
        outside += 1
    first = max(outside - 1, 0)
    return Interval(float(values[first]), float(np.median(values)), float(values[n - 1 - first]))


def compare(name: str, base, change, base_again, repeats=None, budget=2.0) -> Comparison:
    """Time a cell in alternation.

    Parameters
    ----------
    name : str
    base, change, base_again : Worker
    repeats : int, optional
        Number of rounds; by default as many as fit into ``budget`` seconds, within limits.
    budget : float
    """
    sides = (base, change, base_again)
    first = [side.prepare(name) for side in sides]
    number = max(1, math.ceil(SAMPLE_SECONDS / max(min(first), 1e-9)))
    if repeats is None:
        repeats = int(np.clip(budget / (number * sum(first)), MIN_ROUNDS, MAX_ROUNDS))
    times = np.empty((repeats, len(sides)))
    for k in range(repeats):
        order = range(len(sides))
        for i in order if k % 2 == 0 else reversed(order):
            times[k, i] = sides[i].seconds(number)
    return _compare(times)


def _compare(times: np.ndarray) -> Comparison:
    """Compare columns of seconds: base, change, base again."""
    base, change, base_again = np.log(times).T
    ratio = median_interval(change - (base + base_again) / 2)
    noise = median_interval(base_again - base)
    before, after = np.median(times[:, [0, 2]]), np.median(times[:, 1])
    factor = math.exp(max(abs(noise.low), abs(noise.high)))
    return Comparison(float(before), float(after), Interval(*map(math.exp, ratio)), factor)
