"""What draws seeds, whatever the rows and the distance.

Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007, with several
candidates for each seed.
"""

from abc import ABC, abstractmethod
from functools import cache

import numpy as np

from fastem.kernels.runtime.arrays import read_only


class Seeder(ABC):
    """Each row's distance to the nearest of the seeds so far.

    Points are given as rows of the data: not shifted, not scaled. The potential is the weighted sum
    of the distances.
    """

    @abstractmethod
    def add(self, point):
        """Make a row a seed; returns the potential afterwards."""

    @abstractmethod
    def screen(self, candidates):
        """Bounds on how much the potential would fall if a candidate were the next seed.

        Parameters
        ----------
        candidates : ndarray of shape (n_candidates, n_features)

        Returns
        -------
        ndarray of shape (2, n_candidates), float64
            Lower and upper bounds, which need not be close.
        """

    @abstractmethod
    def try_candidates(self, kept):
        """The potential that a candidate would leave if it were the next seed.

        Parameters
        ----------
        kept : ndarray of shape (n_kept,), int
            The numbers of some of the candidates just screened, in order.

        Returns
        -------
        ndarray of shape (n_kept,), float64
        """

    @abstractmethod
    def accept(self, index):
        """Make ``kept[index]`` of those just tried a seed; returns the potential afterwards."""

    @abstractmethod
    def locate(self, values):
        """The first rows up to which the weighted distances sum to at least the values.

        Parameters
        ----------
        values : ndarray of shape (n_values,)

        Returns
        -------
        ndarray of shape (n_values,), int
        """


@cache
def no_bounds(n_candidates):
    """What :meth:`Seeder.screen` returns where nothing is known."""
    return read_only(np.array([np.zeros(n_candidates), np.full(n_candidates, np.inf)]))


def may_be_best(least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """The numbers of the candidates that may gain most, by what :meth:`Seeder.screen` returns.

    They may gain no less than another gains for certain, or there is no telling.
    """
    return (~(most < least.max())).nonzero()[0]
