"""Streams of stars under the errors of their velocities
========================================================

Find sharp structure in measurements whose errors are known and larger than it.

Simulated stars move in two narrow streams and a wide background, and their velocities are measured
with errors that differ from star to star and are correlated: as in a catalogue of proper motions. A
mixture fitted to the velocities as they are is as wide as the errors; one that is told of them
finds the streams. The picture shows what was measured, both mixtures beside the true one, and where
each star is most likely to be.

To run it::

    python examples/noisy_stars.py
    python examples/noisy_stars.py --stars 20000 --output stars
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np

import fastem

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Ellipse

WEIGHTS = np.array([0.4, 0.3, 0.3])
MEANS = np.array([[0.0, 0.0], [-25.0, 5.0], [15.0, -28.0]])
DEVIATIONS = np.array([[38.0, 26.0], [25.0, 1.5], [18.0, 2.0]])
ANGLES = np.radians([20, 35, -25])


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stars", type=int, default=5000, help="(default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=Path("stars"), help="folder (default: %(default)s)"
    )
    options = parser.parse_args(arguments)

    truth = true_mixture()
    true, X, noise = observe(truth, options.stars)
    start = {"means_init": MEANS + 5.0, "max_iter": 2000, "tol": 1e-6}
    ignoring = fastem.GaussianMixture(3, **start).fit(X)
    knowing = fastem.GaussianMixture(3, **start).fit(X, noise=noise)
    print("width of a stream   true   errors ignored   errors known")
    for k in (1, 2):
        widths = [narrowest(mixture, k) for mixture in (truth, ignoring, knowing)]
        print(f"{k:>17} {widths[0]:>6.2f} {widths[1]:>16.2f} {widths[2]:>14.2f}")
    values, _ = knowing.denoise(X, noise)
    for name, one in (("measured", X), ("denoised", values)):
        print(f"{name} velocities are off by {np.sqrt(((one - true) ** 2).mean()):.2f}")

    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / "noisy-stars.png"
    draw(X, values, truth, ignoring, knowing).savefig(target, dpi=110)
    print(f"wrote {target}")


def true_mixture() -> fastem.GaussianMixture:
    """Return the mixture of the true velocities."""
    cosines, sines = np.cos(ANGLES), np.sin(ANGLES)
    axes = np.array([[cosines, -sines], [sines, cosines]]).transpose(2, 0, 1)
    covariances = (axes * DEVIATIONS[:, np.newaxis] ** 2) @ axes.transpose(0, 2, 1)
    return fastem.GaussianMixture.from_parameters(WEIGHTS, MEANS, covariances)


def observe(mixture, n_stars) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return true velocities, measured ones, and the covariances of their errors."""
    rng = np.random.default_rng(0)
    mixture.random_state = 0
    true, _ = mixture.sample(n_stars)
    deviations = rng.lognormal(np.log(6.0), 0.5, size=(n_stars, 2))
    correlations = rng.uniform(-0.8, 0.8, size=n_stars)
    noise = deviations[:, :, np.newaxis] * deviations[:, np.newaxis, :]
    noise[:, 0, 1] *= correlations
    noise[:, 1, 0] *= correlations
    roots = np.linalg.cholesky(noise)
    errors = np.einsum("nij,nj->ni", roots, rng.standard_normal((n_stars, 2)))
    return true, true + errors, noise


def narrowest(mixture, component) -> float:
    """Return the least standard deviation of a component."""
    return float(np.sqrt(np.linalg.eigvalsh(mixture.covariances_[component])[0]))


def draw(X, values, truth, ignoring, knowing) -> plt.Figure:
    """Return a picture of the measurements, the mixtures and the denoised values."""
    figure, axes = plt.subplots(
        1, 3, figsize=(13, 4.8), sharex=True, sharey=True, layout="constrained"
    )
    points = {"s": 2, "color": "0.6", "linewidth": 0}
    for ax, rows, mixture, title in zip(
        axes,
        (X, X, values),
        (ignoring, knowing, knowing),
        ("measured; errors ignored", "measured; errors known", "expected given the errors"),
        strict=True,
    ):
        ax.scatter(*rows.T, **points)
        add_ellipses(ax, truth, color="tab:orange", linestyle="--", label="true")
        add_ellipses(ax, mixture, color="tab:blue", label="found")
        ax.set(title=title, xlabel="velocity U in km/s", xlim=(-100, 100), ylim=(-75, 75))
    axes[0].set(ylabel="velocity V in km/s")
    axes[0].legend(loc="upper left")
    return figure


def add_ellipses(ax, mixture, label, **style) -> None:
    """Draw each component's ellipse of two standard deviations."""
    for mean, covariance in zip(mixture.means_, mixture.covariances_, strict=True):
        variances, axes = np.linalg.eigh(covariance)
        height, width = 4 * np.sqrt(variances)
        angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
        ax.add_patch(
            Ellipse(
                mean, width, height, angle=angle, fill=False, linewidth=1.5, label=label, **style
            )
        )
        label = None


if __name__ == "__main__":
    main()
