"""Seeds drawn step by step, as those are that a seeder draws in one call."""

import numpy as np


def step_by_step(seeder, X, n_seeds, n_candidates, random_state, potential):
    """As ``clustering.seeding.draw_greedily`` asks of any seeder, but all candidates are compared.

    ``potential`` is what the first seed has left, which the seeder has got.
    """
    seeds = []
    for _ in range(n_seeds):
        rows = seeder.locate(random_state.uniform(size=n_candidates) * potential)
        seeder.screen(X[rows])
        best = int(seeder.try_candidates(np.arange(n_candidates)).argmin())
        potential = seeder.accept(best)
        seeds.append(rows[best])
    return seeds
