"""The coordinates of mixing weights, in which EM steps are extrapolated."""

import numpy as np


def log_ratios(weights: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Logarithms of the weights relative to others; zero where either is."""
    ratios = np.zeros(len(weights))
    both = weights * base > 0.0
    ratios[both] = np.log(weights[both] / base[both])
    return ratios


def weights_at(ratios: np.ndarray, base: np.ndarray) -> np.ndarray:
    """The weights of these coordinates; where all are zero the very same, for they may be fixed."""
    if not ratios.any():
        return base
    weights = base * np.exp(ratios)
    return weights / weights.sum()
