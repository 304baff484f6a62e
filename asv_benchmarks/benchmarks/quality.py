"""How good the answers are: no speed shall be bought with worse ones."""

import numpy as np

from . import models
from .models import MODELS, Size

SIZE = Size(5_000, 8, 16)
SEEDS = range(5)


class Quality:
    """The objective that fits from fixed seeds reach, a row; less is better."""

    params = list(MODELS)
    param_names = ("model",)
    timeout = 600

    def setup(self, model):
        self.X, _ = models.make_problem(model, SIZE, "float64")

    def track_objective(self, model):
        fits = (models.fit(model, self.X, SIZE.components, random_state=seed) for seed in SEEDS)
        return float(np.mean([models.objective(model, fit, self.X) for fit in fits]))

    track_objective.unit = "a row"
