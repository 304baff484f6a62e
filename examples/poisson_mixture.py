"""A model of your own, a mixture of Poissons: clusters of pictures by their counts of ink
=========================================================================================="""

import math

import numpy as np
from numba import njit
from sklearn.datasets import load_digits

from fastem import em


class PoissonMixture(em.Mixture):
    @njit
    def log_density(x, log_rates, total_rate):
        value = -total_rate
        for f in range(len(x)):
            value += x[f] * log_rates[f]
        return value

    @njit
    def log_base(x):  # what all components have in common: computed only once
        value = 0.0
        for f in range(len(x)):
            value -= math.lgamma(x[f] + 1.0)
        return value

    def arguments(self, rates):
        return np.log(rates), rates.sum(axis=1)

    def m_step(self, counts, sums):
        return np.maximum(sums / counts[:, np.newaxis], 1e-6)


if __name__ == "__main__":
    X, digits = load_digits(return_X_y=True)  # 64 pixels of 0 to 16
    mixture = PoissonMixture(n_components=10, n_init=5, random_state=0).fit(X)
    table = np.histogram2d(mixture.predict(X), digits, bins=10)[0].astype(int)
    print(f"{mixture.n_iter_} iterations; pictures by component (row) and digit (column):\n{table}")
