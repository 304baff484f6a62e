"""The rows' clusters, as a fit leaves them with the rows."""

import numpy as np

from fastem.rows import Slot

# What a part keeps: the labels of the best run so far.
LABELS: Slot[np.ndarray] = Slot("labels")

# What it keeps from the start of a run to its first assignment, if the start is of CSR rows and has
# found that: the numbers of the nearest seeds, as that assignment would find them, and the rows'
# squared norms.
NEAREST_SEEDS: Slot[tuple[np.ndarray, np.ndarray]] = Slot("nearest seeds")

_LABEL_BLOCK = 1 << 12


def labels_of(part):
    """The labels of the best run."""
    return part.kept(LABELS)


def labels_seen(part, n_clusters):
    """Which labels occur in the best run."""
    seen = np.zeros(n_clusters, bool)
    labels = labels_of(part)
    # A few of the rows usually have them all.
    for start in range(0, len(labels), _LABEL_BLOCK):
        seen[labels[start : start + _LABEL_BLOCK]] = True
        if seen.all():
            break
    return seen
