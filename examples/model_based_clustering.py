"""The fourteen covariance models of irises
===========================================

Choose among all covariance models and numbers of components, as R's mclust does.

Gaussian mixtures with mclust's fourteen covariance models and one to nine components are fitted to
four measurements of 150 irises, which know nothing of the species. One picture shows the criterion
of each model and the components of the winner; the other one what each model's covariances look
like with three components.

To run it::

    python examples/model_based_clustering.py
    python examples/model_based_clustering.py --criterion icl --output models
"""

import argparse
import warnings
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

import fastem
from fastem.plot import CriterionDisplay, MixtureDisplay

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Volumes, shapes and orientations: equal, varying, or of the identity.
SPHERES = ("EII", "VII")
PARALLEL = ("EEI", "VEI", "EVI", "VVI")
TURNED = ("EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV")
MODELS = (*SPHERES, *PARALLEL, *TURNED)
# The features of the pictures: the sepals' length and the petals'.
SHOWN = [0, 2]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--criterion", choices=("bic", "icl", "aic"), default="bic", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("models"), help="folder (default: %(default)s)"
    )
    options = parser.parse_args(arguments)

    iris = load_iris()
    warnings.simplefilter("ignore", ConvergenceWarning)  # of models that don't fit at all
    mixture = fastem.GaussianMixture(tol=1e-5, max_iter=500, random_state=0)
    grid = {"covariance_type": MODELS, "n_components": range(1, 10)}
    search = fastem.CriterionSearch(mixture, grid, criterion=options.criterion).fit(iris.data)
    table = np.reshape(search.results_["criterion"], (len(MODELS), 9))
    report(table, search.best_estimator_, iris, options.criterion.upper())

    options.output.mkdir(parents=True, exist_ok=True)
    pictures = {
        "choice": draw_choice(search, iris),
        "models": draw_models(iris),
    }
    for name, figure in pictures.items():
        figure.savefig(options.output / f"{name}.png", dpi=100)
        plt.close(figure)
    print(f"Pictures: {options.output / 'choice.png'}, {options.output / 'models.png'}")


def report(table, best, iris, criterion) -> None:
    """Print the criteria, the lower the better, and what the winner has found."""
    print(f"{criterion} of one to nine components, the lower the better")
    for model, values in zip(MODELS, table, strict=True):
        print(model, *(f"{value:8.1f}" for value in values))
    agreement = adjusted_rand_score(iris.target, best.predict(iris.data))
    print(
        f"The {criterion} chooses {best.covariance_type} with {best.n_components} components; "
        f"adjusted Rand index with the species: {agreement:.2f}"
    )
    volume, shape, _ = best.decomposition()
    print("volumes", np.round(volume, 3), "shape", np.round(shape, 2).tolist())


def draw_choice(search, iris) -> plt.Figure:
    """Return a picture of the criteria and of the winner's components."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    CriterionDisplay.from_estimator(search, ax=left, linewidth=1, markersize=5)
    lines = {line.get_label(): line for line in left.lines}
    for models, colour in ((SPHERES, "tab:green"), (PARALLEL, "tab:orange"), (TURNED, "tab:blue")):
        for number, model in enumerate(models):
            style = {"color": colour, "alpha": 1 - 0.09 * number, "marker": "osD^v<>P"[number]}
            lines[model].set(**style)
    left.set_title("the lower the better")
    left.legend(ncols=3, fontsize=8)

    best = search.best_estimator_
    names = [iris.feature_names[i] for i in SHOWN]
    MixtureDisplay.from_estimator(best, iris.data, features=SHOWN, ax=right)
    right.set(xlabel=names[0], ylabel=names[1])
    right.set_title(f"{best.covariance_type}, {best.n_components} components: 90 % of each")
    return figure


def draw_models(iris) -> plt.Figure:
    """Return a picture of three components of each model."""
    X = iris.data[:, SHOWN]
    figure, axes = plt.subplots(
        3, 5, figsize=(12, 7.5), sharex=True, sharey=True, layout="constrained"
    )
    for model, ax in zip(MODELS, axes.flat, strict=False):
        mixture = fastem.GaussianMixture(3, covariance_type=model, tol=1e-5, max_iter=500)
        mixture.set_params(means_init=[X[iris.target == k].mean(axis=0) for k in range(3)])
        mixture.set_params(random_state=0).fit(X)
        MixtureDisplay.from_estimator(mixture, X, ax=ax, rows_kw={"s": 4})
        ax.set(xlabel="", ylabel="")
        ax.set_title(f"{model}, BIC {mixture.bic(X):.0f}", fontsize=10)
    legend = axes.flat[-1]
    legend.axis("off")
    legend.text(
        0.5,
        0.5,
        "volume, shape, orientation:\nE equal\nV varying\nI identity",
        ha="center",
        va="center",
        transform=legend.transAxes,
    )
    figure.supxlabel(iris.feature_names[SHOWN[0]], fontsize=10)
    figure.supylabel(iris.feature_names[SHOWN[1]], fontsize=10)
    return figure


if __name__ == "__main__":
    main()
