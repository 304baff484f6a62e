"""What the passes of all mixtures do lane by lane: weights and labels in, values of rows out."""

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.machine import TILE


@inline
def load_weights(sample_weight, first, stop, weights):
    """The weights of consecutive rows, ones if there are none; lanes behind ``stop`` weigh 0."""
    for lane in range(TILE):
        weight = 0.0
        if first + lane < stop:
            weight = sample_weight[first + lane] if len(sample_weight) else 1.0
        weights[lane] = weight


@inline
def gather_weights(sample_weight, rows, n_lanes, weights):
    """The weights of a tile's rows, ones if there are none; lanes behind ``n_lanes`` weigh 0."""
    for lane in range(TILE):
        weight = sample_weight[rows[lane]] if len(sample_weight) else 1.0
        weights[lane] = weight if lane < n_lanes else 0.0


@inline
def assign(labels, first, stop, weights, n_components, shares):
    """Give all of each row's weight to its label's component, or to none if that is negative."""
    for i in range(n_components * TILE):
        shares[i] = 0.0
    for lane in range(min(TILE, stop - first)):
        if labels[first + lane] >= 0:
            shares[labels[first + lane] * TILE + lane] = weights[lane]


@inline
def fill_column(value, column, tile):
    """One value for all lanes of a component."""
    for lane in range(TILE):
        tile[column * TILE + lane] = value


@inline
def _label(tile, n_components, lane):
    """A lane's component of the greatest value, the first of equals."""
    label = 0
    for j in range(1, n_components):
        if tile[j * TILE + lane] > tile[label * TILE + lane]:
            label = j
    return label


@inline
def write_labels(tile, n_components, first, n_lanes, labels):
    """Each lane's component of the greatest value, the first of equals, as its row's label."""
    for lane in range(n_lanes):
        labels[first + lane] = _label(tile, n_components, lane)


@inline
def scatter_labels(tile, n_components, rows, n_lanes, labels):
    """As :func:`write_labels`, for rows that aren't consecutive."""
    for lane in range(n_lanes):
        labels[rows[lane]] = _label(tile, n_components, lane)


@inline
def write_rows(tile, n_components, first, n_lanes, output):
    """A tile's values of the components as rows of ``output`` (n_rows, n_components)."""
    for lane in range(n_lanes):
        for j in range(n_components):
            output[first + lane, j] = tile[j * TILE + lane]


@inline
def scatter_rows(tile, n_components, rows, n_lanes, added, output):
    """As :func:`write_rows`, for rows that aren't consecutive and with something added."""
    for lane in range(n_lanes):
        for j in range(n_components):
            output[rows[lane], j] = tile[j * TILE + lane] + added
