"""The examples as sphinx-gallery runs them: as scripts, whose pictures are files."""

import shutil
from pathlib import Path

from sphinx_gallery.scrapers import figure_rst

# What an example is called with; each writes to its folder, or to the file of this name.
ARGUMENTS = {
    "em_by_the_book.py": ["--runs", "60"],
}
FILES = {
    "bernoulli_digits.py": "bernoulli-digits.png",
    "kmedians_outliers.py": "kmedians-outliers.png",
    "local_optimum.py": "local-optimum.png",
}
WITHOUT_PICTURES = {"poisson_mixture.py"}


class arguments_of:
    """The arguments that make an example write into a folder.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder):
        self.folder = folder

    def __repr__(self):
        return "arguments_of"  # the same in each build, as Sphinx compares its settings

    def __call__(self, gallery_conf, script_vars):
        name = Path(script_vars["src_file"]).name
        if name in WITHOUT_PICTURES:
            return []
        target = self.folder / FILES.get(name, "")
        return [*ARGUMENTS.get(name, []), "--output", str(target)]


class PictureFiles:
    """A scraper of the pictures that an example has written.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder):
        self.folder = folder

    def __repr__(self):
        return "PictureFiles"

    def __call__(self, block, block_vars, gallery_conf):
        names = []
        for picture in sorted(self.folder.rglob("*.*"), key=lambda path: path.stat().st_mtime_ns):
            if picture.suffix in (".png", ".jpg"):
                target = Path(next(block_vars["image_path_iterator"])).with_suffix(picture.suffix)
                shutil.copyfile(picture, target)
                names.append(str(target))
            picture.unlink()
        return figure_rst(names, gallery_conf["src_dir"])
