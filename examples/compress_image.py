"""A photograph in 64 colours, by K-means
=========================================

Compress a photograph to a few colours with K-means.

The pixels are clustered by their colour, and each takes the colour of its cluster's centre. The
picture is then written as a PNG with a palette, which needs one byte a pixel or less, and beside
the original for the eye to compare. scikit-learn's KMeans does the same from the same start.

To run it::

    python examples/compress_image.py
    python examples/compress_image.py holiday.jpg --colours 16 --output smaller
"""

import argparse
import importlib.resources
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sklearn.cluster
from PIL import Image, ImageOps, UnidentifiedImageError
from sklearn.exceptions import ConvergenceWarning

import fastem


class Result(NamedTuple):
    """A picture in few colours and what it cost."""

    palette: np.ndarray  # (n_colours, 3) uint8
    pixels: np.ndarray  # (height, width) uint8, positions in the palette
    n_iter: int
    seconds: float

    def image(self) -> Image.Image:
        """Return the picture with its palette."""
        image = Image.fromarray(self.pixels)
        image.putpalette(self.palette.tobytes())
        return image


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "image", nargs="?", type=Path, help="a picture (default: scikit-learn's china.jpg)"
    )
    parser.add_argument(
        "--colours", "--colors", type=int, default=64, metavar="N", help="2 to 256 (default: 64)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("compressed"), help="folder (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the start (default: %(default)s)")
    parser.add_argument(
        "--no-comparison", action="store_true", help="don't run scikit-learn's KMeans"
    )
    options = parser.parse_args(arguments)
    if not 2 <= options.colours <= 256:
        parser.error(f"a PNG's palette holds 2 to 256 colours, not {options.colours}")
    if options.image is None:
        bundled = importlib.resources.files("sklearn.datasets") / "images" / "china.jpg"
        with importlib.resources.as_file(bundled) as path:
            return run(path, options)
    return run(options.image, options)


def run(path: Path, options: argparse.Namespace) -> int:
    """Compress the picture at `path`; return the exit status."""
    try:
        original = read(path)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        return complain(f"can't read {path} as a picture: {error}")
    n_distinct = count_colours(original)
    if options.colours > n_distinct:
        return complain(
            f"{path.name} has only {n_distinct} distinct colours; "
            f"ask for at most as many by --colours"
        )
    height, width, _ = original.shape
    print(f"{path.name}: {width} x {height} pixels, {n_distinct:,} distinct colours")

    # float64, as both libraries then find the same palette but for pixels midway between colours
    X = original.reshape(-1, 3).astype(np.float64)
    # The first fit of a process loads the compiled kernels, or compiles them on a new machine.
    begin = time.perf_counter()
    start, _ = fastem.kmeans_plusplus(X, options.colours, random_state=options.seed)
    quantise(fastem.KMeans, original, X, start)
    first_use = time.perf_counter() - begin
    results = {"fastem": quantise(fastem.KMeans, original, X, start)}
    if not options.no_comparison:
        crop = X[:: max(1, len(X) // 4096)]  # wakes its threads; nothing of it is compiled
        fit(sklearn.cluster.KMeans, crop, start)
        results["scikit-learn"] = quantise(sklearn.cluster.KMeans, original, X, start)

    name = f"{path.stem}-{options.colours}-colours"
    compressed = options.output / f"{name}.png"
    both = options.output / f"{name}-side-by-side.png"
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        results["fastem"].image().save(compressed, optimize=True)
        side_by_side(original, results["fastem"]).save(both)
    except OSError as error:
        return complain(f"can't write to {options.output}: {error}")

    print("\nbytes")
    print(f"  pixels, 3 bytes each      {original.nbytes:>12,}")
    print(f"  {path.name:<25} {path.stat().st_size:>12,}")
    print(f"  {compressed.name:<25} {compressed.stat().st_size:>12,}")
    print(f"\n{'':<27}" + "".join(f"{name:>14}" for name in results))
    table = {
        "colours": [f"{len(result.palette)}" for result in results.values()],
        "mean squared error": [f"{error_of(original, r):.4f}" for r in results.values()],
        "iterations": [f"{result.n_iter}" for result in results.values()],
        "time of the fit": [f"{result.seconds:.3f} s" for result in results.values()],
    }
    for label, values in table.items():
        print(f"  {label:<25}" + "".join(f"{value:>14}" for value in values))
    if "scikit-learn" in results:
        ratio = results["scikit-learn"].seconds / results["fastem"].seconds
        print(f"  fastem's fit was {ratio:.1f} times as fast")
        print("  (a pixel midway between two starting colours may go to either, so that the two")
        print("  may differ a little)")
    print(
        "\nEvery fit starts from the same k-means++ centres, has the same tolerance, and is timed "
        f"after a warm-up.\nThe seeding and fastem's warm-up took {first_use:.2f} s, in which its "
        "kernels were loaded,\nor compiled if this machine had not used them before.\n"
    )
    print(f"wrote {compressed}\nwrote {both}")
    return 0


def read(path: Path) -> np.ndarray:
    """Return a picture's pixels, (height, width, 3) uint8, turned as its camera was held."""
    with Image.open(path) as image:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def count_colours(original: np.ndarray) -> int:
    """Return the number of distinct colours."""
    red, green, blue = np.moveaxis(original.astype(np.uint32), -1, 0)
    return len(np.unique(red << 16 | green << 8 | blue))


def fit(estimator, X: np.ndarray, start: np.ndarray):
    """Fit either library's KMeans from `start`."""
    model = estimator(len(start), init=start, n_init=1, max_iter=300, tol=1e-4)
    with warnings.catch_warnings():
        # two centres may meet in one colour of a drawing: harmless here
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X)


def quantise(estimator, original: np.ndarray, X: np.ndarray, start: np.ndarray) -> Result:
    """Return `original` in the colours of the K-means centres, and how long the fit took."""
    begin = time.perf_counter()
    model = fit(estimator, X, start)
    seconds = time.perf_counter() - begin
    palette = np.rint(model.cluster_centers_).clip(0, 255).astype(np.uint8)
    # from dark to light, so that like colours have like numbers, which PNG packs better
    order = np.argsort(palette @ np.array([0.299, 0.587, 0.114]), kind="stable")
    rank = np.empty(len(order), np.uint8)
    rank[order] = np.arange(len(order))
    pixels = rank[model.labels_].reshape(original.shape[:2])
    return Result(palette[order], pixels, model.n_iter_, seconds)


def error_of(original: np.ndarray, result: Result) -> float:
    """Return the mean squared error over pixels and channels, whose values are 0 to 255."""
    difference = original.astype(np.float64) - result.palette[result.pixels]
    return float(np.mean(difference**2))


def side_by_side(original: np.ndarray, result: Result) -> Image.Image:
    """Return the original, a white line, and the picture in few colours."""
    line = np.full((len(original), 8, 3), 255, np.uint8)
    return Image.fromarray(np.hstack([original, line, result.palette[result.pixels]]))


def complain(message: str) -> int:
    """Print an error and return the exit status."""
    print(f"compress_image.py: error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    if status := main():
        sys.exit(status)
