"""EM by the book: five textbook cases
======================================

The cases that textbooks work by hand, computed and drawn:

- The four corners of a rectangle, on which Lloyd's iterations stop at once at a clustering that is
  (H / W)**2 times as bad as the best, and how often each way to start K-means ends there.
- The divergence of two Gaussians: the same distance between the means is a different matter if the
  standard deviation is 10 instead of 1.
- EM round by round, on 50 points drawn from two Gaussians.
- A start from which EM ends in a local maximum, and restarts that escape it.
- The sum of two independent variables, each a mixture, against a histogram.

To run it::

    python examples/em_by_the_book.py
    python examples/em_by_the_book.py --runs 1000 --output pictures
"""

import argparse
import warnings
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem.plot import MixtureDisplay

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# The four corners, and the ways to start.

SHAPES = (1.5, 2, 3, 4, 6)  # the height H of a rectangle of width W = 1


def plain_kmeans_plusplus(X, n_clusters, random_state) -> np.ndarray:
    """Return seeds by k-means++ as first published: one candidate for each seed."""
    return fastem.kmeans_plusplus(X, n_clusters, random_state=random_state, n_local_trials=1)[0]


STARTS = {
    "random points": "random",
    "random partition": "random_partition",
    "k-means++": plain_kmeans_plusplus,
    "k-means++, greedy": "k-means++",
}
# Seeds of these are drawn with probabilities that go with this power of the distance.
POWERS = {"random points": 0, "k-means++": 2}


def rectangle(options) -> plt.Figure:
    """K-means with two clusters on the corners of a rectangle."""
    X = corners(2)
    best = fastem.KMeans(2, init=X[::2]).fit(X)
    stuck = fastem.KMeans(2, init=X[:2]).fit(X)
    print(f"best cost {best.inertia_:g} W^2, a local minimum {stuck.inertia_:g} W^2 for H = 2 W\n")

    runs = {
        name: [costs(corners(h), init, options.runs) for h in SHAPES]
        for name, init in STARTS.items()
    }
    print(f"mean cost / W^2, exact or of {options.runs} runs with its standard error")
    print(" " * 19 + "".join(f"{f'H = {h:g} W':16}" for h in SHAPES))
    for name, samples in runs.items():
        listed = "".join(f"{f'{c.mean():.3f} ± {error(c):.3f}':16}" for c in samples)
        print(f"{name:19}{listed}")
        if name in POWERS:
            exact = [expected_cost(corners(h), POWERS[name]) for h in SHAPES]
            print(f"{'  exact':19}" + "".join(f"{cost:<16.3f}" for cost in exact))

    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(10, 3.8), width_ratios=[1, 1, 2.6], layout="constrained"
    )
    for axes, model, name in ((left, best, "best"), (middle, stuck, "local minimum")):
        draw_clusters(axes, X, model)
        axes.set_title(f"{name}: {model.inertia_:g} W²", fontsize=11)
    middle.set_ylabel("")
    heights = np.linspace(1.25, 6, 30)
    for number, (name, marker) in enumerate(zip(STARTS, "osD^", strict=True)):
        colour = f"C{number}"
        means, errors = zip(*((c.mean(), error(c)) for c in runs[name]), strict=True)
        right.errorbar(SHAPES, means, errors, fmt=marker, color=colour, label=name)
        if name in POWERS:
            right.plot(heights, [expected_cost(corners(h), POWERS[name]) for h in heights], colour)
    right.axhline(1.5, color="0.5", linestyle="--", linewidth=1)
    right.set(xlabel="H / W", ylabel="mean cost / W²", yscale="log", ylim=(0.9, 16))
    right.set_yticks([1, 1.5, 2, 4, 8, 16], ["1", "1.5", "2", "4", "8", "16"])
    right.set_yticks([], minor=True)
    right.set_title(f"mean of {options.runs} runs, and exact mean (lines)", fontsize=11)
    right.legend(loc="upper left")
    return figure


def corners(height: float) -> np.ndarray:
    """Return the corners of a rectangle of width 1, the lower two first."""
    return np.array([[0.0, 0], [1, 0], [0, height], [1, height]])


def expected_cost(X, power: int) -> float:
    """Return the mean inertia over all seeds, drawn by a power of the distance from the first."""
    total = 0.0
    for first in X:
        others = X[(X != first).any(axis=1)]
        chances = np.linalg.norm(others - first, axis=1) ** power
        for second, chance in zip(others, chances / chances.sum(), strict=True):
            model = fastem.KMeans(2, init=np.array([first, second])).fit(X)
            total += chance * model.inertia_ / len(X)
    return total


def costs(X, init, n_runs: int) -> np.ndarray:
    """Return the inertia of runs of two clusters from different random starts."""
    runs = [fastem.KMeans(2, init=init, n_init=1, random_state=run) for run in range(n_runs)]
    return np.array([model.fit(X).inertia_ for model in runs])


def error(values) -> float:
    """Return the standard error of the mean."""
    return float(values.std() / len(values) ** 0.5)


def draw_clusters(axes, X, model) -> None:
    """Draw the corners in their clusters' colours, with the centres."""
    for label, marker in enumerate("os"):
        own = X[model.labels_ == label]
        axes.plot(*own.T, color=f"C{label}", marker=marker, markersize=9, linewidth=1)
    axes.plot(*model.cluster_centers_.T, "+k", markersize=11, markeredgewidth=2)
    axes.set(xlim=(-0.6, 1.6), ylim=(-0.4, 2.4), aspect="equal", xticks=[0, 1], yticks=[0, 1, 2])
    axes.set(xlabel="x / W", ylabel="y / W")


# The divergence of two Gaussians.


def divergence(options) -> plt.Figure:
    """KL(N(0, v) || N(1, v)) for the variances 1 and 100."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axes, variance in zip(panels, (1.0, 100.0), strict=True):
        kl = fastem.kl_gaussian(0.0, variance, 1.0, variance)
        print(f"KL(N(0, {variance:g}) || N(1, {variance:g})) = {kl:g} nats")
        x = np.linspace(-3.5, 4.5, 400) * variance**0.5
        for mean, name, style in ((0.0, "p", "-"), (1.0, "q", "--")):
            one = fastem.GaussianMixture.from_parameters(
                [1.0], [[mean]], [variance], covariance_type="spherical"
            )
            density = np.exp(one.score_samples(x[:, np.newaxis]))
            axes.plot(x, density, style, label=f"{name} = N({mean:g}, {variance:g})")
            axes.fill_between(x, density, alpha=0.15)
        axes.set(xlabel="x", ylabel="density", ylim=(0, None))
        axes.set_title(f"KL(p ‖ q) = {kl:g} nats", fontsize=11)
        axes.legend(loc="upper right")
    return figure


# EM round by round.

TRUE = {"weights": [0.3, 0.7], "means": [[-0.8], [1.2]], "covariances": [0.52, 0.35]}
ROUNDS = (0, 1, 2, 5, 20)


def rounds(options) -> plt.Figure:
    """EM on 50 points of 0.3 N(-0.8, 0.52) + 0.7 N(1.2, 0.35), from a vague start."""
    truth = fastem.GaussianMixture.from_parameters(**TRUE, covariance_type="spherical")
    X, _ = truth.set_params(random_state=1).sample(50)
    start = {"weights_init": [0.5, 0.5], "means_init": [[0.0], [1.0]], "precisions_init": [1, 1]}

    def after(n_rounds, tol=0.0):
        model = fastem.GaussianMixture(2, covariance_type="spherical", **start, reg_covar=0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # few rounds are what is wanted
            return model.set_params(tol=tol, max_iter=n_rounds).fit(X)

    print("round     weights          means         variances    log-likelihood")
    models = {n_rounds: after(n_rounds) for n_rounds in ROUNDS}
    converged = after(10_000, tol=1e-10)
    for n_rounds, model in {**models, converged.n_iter_: converged, "truth": truth}.items():
        numbers = [*model.weights_, *model.means_.ravel(), *model.covariances_]
        listed = "  ".join(f"{number:6.3f}" for number in numbers)
        print(f"{n_rounds:>5}  {listed}  {model.score_samples(X).sum():12.4f}")

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 4), width_ratios=[1.6, 1], layout="constrained"
    )
    x = np.linspace(-3.2, 3.5, 400)[:, np.newaxis]
    left.hist(
        X.ravel(), bins=np.linspace(-3, 3.4, 17), density=True, color="0.88", label="50 points"
    )
    left.plot(X.ravel(), np.full(len(X), -0.012), "|", color="0.4")
    left.plot(x, np.exp(truth.score_samples(x)), "k--", linewidth=1.2, label="truth")
    colours = plt.get_cmap("viridis_r")(np.linspace(0.1, 1, len(ROUNDS)))
    for (n_rounds, model), colour in zip(models.items(), colours, strict=True):
        left.plot(x, np.exp(model.score_samples(x)), color=colour, label=f"round {n_rounds}")
    left.set(xlabel="x", ylabel="density", ylim=(-0.03, None))
    left.legend(loc="upper left")
    bounds = len(X) * np.array(converged.lower_bounds_)
    right.plot(bounds[:41], color="0.6", linewidth=1)
    for n_rounds, colour in zip(ROUNDS, colours, strict=True):
        right.plot(n_rounds, bounds[n_rounds], "o", color=colour)
    right.set(xlabel="round", ylabel="log-likelihood / nats")
    return figure


# Local maxima.


def restarts(options) -> plt.Figure:
    """A mixture that starts with two components in one group, and restarts from random rows."""
    rng = np.random.default_rng(3)
    X = np.vstack([place + rng.normal(size=(100, 2)) for place in ([0, 0], [3.2, 0], [8, 5])])
    settings = {"tol": 1e-8, "max_iter": 2000}
    stuck = fastem.GaussianMixture(
        3,
        weights_init=[1 / 3] * 3,
        means_init=[[1.6, 0], [7.5, 5], [8.5, 5]],
        precisions_init=[np.eye(2)] * 3,
        **settings,
    ).fit(X)
    settings["init_params"] = "random_from_data"
    ends = [
        len(X) * fastem.GaussianMixture(3, random_state=run, **settings).fit(X).lower_bound_
        for run in range(20)
    ]
    best = fastem.GaussianMixture(3, n_init=20, random_state=0, **settings).fit(X)
    models = {"a local maximum": stuck, "the best of 20 starts": best}
    for name, model in models.items():
        print(f"{name:22} log-likelihood {len(X) * model.lower_bound_:.2f}")
    print("ends of 20 single runs", *(f"{end:.2f}" for end in sorted(ends)))

    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for axes, (name, model) in zip(panels, models.items(), strict=False):
        MixtureDisplay.from_estimator(model, X, ax=axes, rows_kw={"s": 7})
        axes.set(xlabel="x", ylabel="y", aspect="equal", adjustable="datalim")
        axes.set_title(
            f"{name}: \N{MINUS SIGN}{-len(X) * model.lower_bound_:.1f} nats", fontsize=11
        )
    panels[2].plot(range(1, 21), sorted(ends), "o")
    panels[2].axhline(
        len(X) * stuck.lower_bound_,
        color="0.5",
        linestyle="--",
        linewidth=1,
        label="the local maximum",
    )
    panels[2].legend(loc="center right")
    panels[2].set(xlabel="random start, worst first", ylabel="log-likelihood / nats")
    panels[2].set(xticks=[1, 5, 10, 15, 20])
    return figure


# Sums of independent variables.


def sums(options) -> plt.Figure:
    """The density of a sum of two mixtures, which has a component for each pair."""
    first = fastem.GaussianMixture.from_parameters(
        [0.6, 0.4], [[-2.0], [2.5]], [0.3, 0.8], covariance_type="spherical"
    ).set_params(random_state=0)
    second = fastem.GaussianMixture.from_parameters(
        [0.5, 0.2, 0.3], [[0.0], [7.0], [16.0]], [0.4, 0.1, 1.5], covariance_type="spherical"
    ).set_params(random_state=1)
    total = first.convolve(second)
    rng = np.random.default_rng(2)
    drawn = [rng.permutation(mixture.sample(100_000)[0].ravel()) for mixture in (first, second)]
    added = drawn[0] + drawn[1]
    print("component   weight     mean   variance")
    rows = zip(total.weights_, total.means_[:, 0], total.covariances_, strict=True)
    for number, row in enumerate(rows):
        print(f"{number:>9} " + "".join(f"{value:9.3f}" for value in row))
    print(f"mean      {total.mean()[0]:.4f}, of 100,000 sums {added.mean():.4f}")
    print(f"variance {total.covariance()[0, 0]:.4f}, of 100,000 sums {added.var():.4f}")

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    x = np.linspace(-6, 25, 800)[:, np.newaxis]
    for mixture, name in ((first, "first"), (second, "second")):
        left.plot(x, np.exp(mixture.score_samples(x)), label=name)
    left.set(xlabel="x", ylabel="density", title="two variables", ylim=(0, None))
    left.legend()
    MixtureDisplay.from_estimator(
        total, added[:, np.newaxis], ax=right, bins=150, rows_kw={"label": "100,000 sums"}
    )
    right.set(xlabel="x", title="their sum: first.convolve(second)", ylim=(0, None))
    return figure


CASES = (rectangle, divergence, rounds, restarts, sums)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", type=int, default=300, help="of K-means, for a mean (default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("book"), help="folder (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error(f"a mean needs at least 1 run, not {options.runs}")

    options.output.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        print(f"{case.__doc__}\n")
        target = options.output / f"book-{case.__name__}.png"
        figure = case(options)
        figure.savefig(target, dpi=100)
        plt.close(figure)
        print(f"\nwrote {target}\n\n")


if __name__ == "__main__":
    main()
