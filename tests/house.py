"""Reads a package's sources, and tells where they break the rules of the house."""

import ast
import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

# Who stands on whom, from the ground up. A module imports from its own room and from lower floors;
# rooms on one floor don't know each other.
FLOORS = [
    ["kernels.runtime.emitting"],
    ["kernels.runtime"],
    ["kernels.vectors"],
    ["kernels.linalg", "kernels.columns"],
    ["kernels.distances"],
    ["kernels.mixtures", "kernels.medians", "kernels.seeding", "kernels.clusters"],
    ["kernels.kmeans", "kernels.gaussian", "kernels.bernoulli", "kernels.own"],
    ["kernels.kmedians"],  # K-means' algorithms with another distance and location
    ["kernels"],
    ["sklearn_private", "warning"],
    ["validation", "interchange"],
    ["rows"],
    ["loop"],
    ["clustering"],
    ["mixtures"],
    ["em", "silhouette"],
    ["selection"],
    ["plot"],
    ["commands"],
    ["__main__"],
    [""],
]
# These have rooms within rooms: each knows those around and within it, but not its neighbours.
SPLIT = [
    "rows",
    "clustering",
    "mixtures",
    "kernels.gaussian",
    "kernels.kmeans",
    "kernels.seeding",
]
# For users: whoever is inside imports from the module itself.
DOORS = ["", "em", "kernels", "__main__"]

KERNELS_IMPORT = {*sys.stdlib_module_names, "numpy", "numba", "llvmlite", "threadpoolctl"}
MODELS = re.compile(r"k.?means|k.?medians|gaussian|bernoulli", re.IGNORECASE)
MOST_FILES = 14  # of a folder, __init__.py aside
MOST_LINES = 500


class House:
    """A package's modules, by their names without the package's, and what each imports.

    Parameters
    ----------
    package : Path
        The package's folder.
    """

    def __init__(self, package):
        self.package = Path(package)
        self.files = {}
        for path in sorted(self.package.rglob("*.py")):
            parts = path.relative_to(self.package).with_suffix("").parts
            self.files[".".join(part for part in parts if part != "__init__")] = path
        self.imports = {module: set(self._imported(path)) for module, path in self.files.items()}

    def _imported(self, path):
        """Full names of all modules that a file imports, at its head or later."""
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: a relative import"
                for alias in node.names:
                    inside = self._inside(f"{node.module}.{alias.name}")
                    yield f"{node.module}.{alias.name}" if inside in self.files else node.module

    def _inside(self, name):
        """A full name without the package's, or None for a module of another package."""
        package, _, module = name.partition(".")
        return module if package == self.package.name else None

    def arrows(self):
        """Pairs of modules: who imports whom inside."""
        for module, names in self.imports.items():
            for name in sorted(names):
                imported = self._inside(name)
                if imported is not None:
                    yield module, imported

    def room(self, module):
        """The folder a module is in, or the module itself if it is at the top."""
        if self.files[module].name == "__init__.py" or "." not in module:
            return module
        return module.rpartition(".")[0]


def _floor(room):
    """A room's floor and the name it has there; None for one that has no place."""
    for floor, rooms in enumerate(FLOORS):
        for name in rooms:
            if room == name or (name in SPLIT and room.startswith(f"{name}.")):
                return floor, name
    return None


def _may_import(room, imported):
    if imported == room:
        return True
    (floor, name), (imported_floor, imported_name) = _floor(room), _floor(imported)
    if name == imported_name:
        return f"{room}.".startswith(f"{imported}.") or f"{imported}.".startswith(f"{room}.")
    return imported_floor < floor


def wrong_arrows(house):
    """Imports that lead up, sideways, or through a door that is the users'."""
    homeless = sorted({m for m in house.files if _floor(house.room(m)) is None})
    faults = [f"{module}: its folder has no floor in tests/house.py" for module in homeless]
    for module, imported in house.arrows():
        if module == "" or module in homeless or imported in homeless:  # the package has all names
            continue
        if imported in DOORS:
            faults.append(f"{module} imports {imported or house.package.name}, which is for users")
        elif not _may_import(house.room(module), house.room(imported)):
            faults.append(f"{module} imports {imported}, which is not below it")
    return faults


def circles(house):
    """Modules that import each other, perhaps by way of others."""
    graph = {module: set() for module in house.files}
    for module, imported in house.arrows():
        graph[module].add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return ["a circle: " + " <- ".join(error.args[1])]
    return []


def strangers(house):
    """Packages that kernels import though these are no part of compiled code."""
    return [
        f"{module} imports {name}"
        for module, names in house.imports.items()
        if module.startswith("kernels.") or module == "kernels"
        for name in sorted(names)
        if name.partition(".")[0] not in KERNELS_IMPORT | {house.package.name}
    ]


def models_in_the_loop(house):
    """Lines of the loop that name a model."""
    return [
        f"{module}, line {n}: {line.strip()}"
        for module, path in house.files.items()
        if module.partition(".")[0] == "loop"
        for n, line in enumerate(path.read_text().splitlines(), 1)
        if MODELS.search(line)
    ]


def crowded(house):
    """Folders of too many files."""
    folders = sorted({path.parent for path in house.files.values()})
    numbers = {
        folder: len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        for folder in folders
    }
    return [f"{folder}: {n} files" for folder, n in numbers.items() if n > MOST_FILES]


def long(house):
    """Files of too many lines."""
    numbers = {path: len(path.read_text().splitlines()) for path in house.files.values()}
    return [f"{path}: {n} lines" for path, n in numbers.items() if n > MOST_LINES]


def unexplained(house):
    """Folders whose ``__init__.py`` doesn't say in a line what they are for."""
    faults = []
    for folder in sorted({path.parent for path in house.files.values()}):
        head = folder / "__init__.py"
        text = ast.get_docstring(ast.parse(head.read_text())) if head.exists() else None
        if not text or not text.splitlines()[0].endswith("."):
            faults.append(f"{folder}: no line that says what it is for")
    return faults


def unmirrored(house, tests, others=()):
    """Folders of tests that no folder of the package answers to, and the reverse.

    Parameters
    ----------
    house : House
    tests : Path
    others : sequence of str
        Folders of tests for what is not in the package.
    """
    rooms = {path.parent.relative_to(house.package) for path in house.files.values()}
    tested = {path.parent.relative_to(tests) for path in Path(tests).rglob("test_*.py")}
    tested -= {Path(name) for name in others}
    return [f"{room}: no tests" for room in sorted(rooms - tested)] + [
        f"tests/{folder}: no such folder in the package" for folder in sorted(tested - rooms)
    ]
