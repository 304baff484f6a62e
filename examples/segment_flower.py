"""A photograph in segments, by a Gaussian mixture
==================================================

Segment a photograph with a Gaussian mixture of its pixels' colours and positions.

Each pixel is a row of red, green, blue, x and y. A component with a full covariance is a patch of
the picture whose colour may change across it. Each pixel is then painted in the mean colour of its
most probable component, beside the original and a map of how sure that is.

To run it::

    python examples/segment_flower.py
    python examples/segment_flower.py holiday.jpg --components 8 --output segmented
"""

import argparse
import importlib.resources
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from sklearn.exceptions import ConvergenceWarning

import fastem


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "image", nargs="?", type=Path, help="a picture (default: scikit-learn's flower.jpg)"
    )
    parser.add_argument(
        "--components", type=int, default=6, metavar="K", help="at least 1 (default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("segmented"), help="folder (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the start (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.components < 1:
        parser.error(f"a mixture has at least one component, not {options.components}")
    if options.image is None:
        bundled = importlib.resources.files("sklearn.datasets") / "images" / "flower.jpg"
        with importlib.resources.as_file(bundled) as path:
            return run(path, options)
    return run(options.image, options)


def run(path: Path, options: argparse.Namespace) -> int:
    """Segment the picture at `path`; return the exit status."""
    try:
        with Image.open(path) as image:
            picture = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        return complain(f"can't read {path} as a picture: {error}")
    height, width, _ = picture.shape
    X = rows_of(picture)
    if len(X) < max(2, options.components):
        return complain(f"{path.name} has only {len(X)} pixels")
    print(f"{path.name}: {width} x {height} pixels, {X.shape[1]} numbers each")

    begin = time.perf_counter()
    mixture = fastem.GaussianMixture(
        options.components, tol=1e-4, max_iter=500, random_state=options.seed
    )
    with warnings.catch_warnings():
        # a drawing may have fewer colours than components: harmless here
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = mixture.fit_predict(X)
    print(f"{mixture.n_iter_} iterations in {time.perf_counter() - begin:.2f} s")

    colours = np.array(
        [
            picture.reshape(-1, 3)[labels == j].mean(axis=0) if (labels == j).any() else np.zeros(3)
            for j in range(options.components)
        ]
    )
    sure = mixture.predict_proba(X).max(axis=1)
    panels = [
        picture,
        np.rint(colours).astype(np.uint8)[labels].reshape(picture.shape),
        np.repeat(np.rint(255 * sure).astype(np.uint8), 3).reshape(picture.shape),
    ]
    line = np.full((height, 8, 3), 255, np.uint8)
    target = options.output / f"{path.stem}-{options.components}-segments.png"
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.hstack([panels[0], line, panels[1], line, panels[2]])).save(target)
    except OSError as error:
        return complain(f"can't write to {options.output}: {error}")

    print("\ncomponent   share   red green  blue       x       y")
    for j in np.argsort(mixture.weights_)[::-1]:
        red, green, blue, x, y = mixture.means_[j]
        print(
            f"{j:>9} {mixture.weights_[j]:>7.1%} {255 * red:>5.0f} {255 * green:>5.0f} "
            f"{255 * blue:>5.0f} {x * width:>7.0f} {y * height:>7.0f}"
        )
    print(f"\nlog-likelihood {mixture.score(X):.4f} a pixel, BIC {mixture.bic(X):,.0f}")
    print(f"wrote {target}")
    return 0


def rows_of(picture: np.ndarray) -> np.ndarray:
    """Return a row of red, green, blue, x and y, from 0 to 1, for each pixel."""
    height, width, _ = picture.shape
    y, x = np.mgrid[:height, :width]
    positions = np.stack([x / width, y / height], axis=-1)
    return np.concatenate([picture / 255, positions], axis=-1).reshape(-1, 5)


def complain(message: str) -> int:
    """Print an error and return the exit status."""
    print(f"segment_flower.py: error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    if status := main():
        sys.exit(status)
