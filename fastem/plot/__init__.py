"""Pictures of fits, by scikit-learn's display convention; they need matplotlib.

Each class has ``from_estimator``, ``plot`` for another picture of the same, and the attributes
``ax_`` and ``figure_``.
"""

from fastem.plot.centers import CentersDisplay
from fastem.plot.criterion import CriterionDisplay
from fastem.plot.history import HistoryDisplay
from fastem.plot.mixture import MixtureDisplay
from fastem.plot.rounds import animate_rounds
from fastem.plot.silhouette import SilhouetteDisplay

__all__ = [
    "CentersDisplay",
    "CriterionDisplay",
    "HistoryDisplay",
    "MixtureDisplay",
    "SilhouetteDisplay",
    "animate_rounds",
]
