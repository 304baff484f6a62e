"""How much memory there is for this process."""

import os
from collections.abc import Iterator
from pathlib import Path

# Where Linux says which control groups a process is in, and what these allow: version 2 of them,
# and version 1.
_OWN = Path("/proc/self/cgroup")
_LIMITS = {
    "": (Path("/sys/fs/cgroup"), "memory.max"),
    "memory": (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
}


def memory() -> float:
    """Bytes of memory that this process may use at most; what others use doesn't count.

    A container or a job of SLURM is a control group, whose limit counts pages of files, too.
    """
    most = float("inf")
    if hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
        most = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min([most, *_limits()])


def _limits() -> Iterator[float]:
    """What the groups of this process, and those around them, allow."""
    if not _OWN.exists():
        return
    for line in _OWN.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if controller not in _LIMITS:
                continue
            root, name = _LIMITS[controller]
            group = root / path.lstrip("/")
            # In a container the path may be the host's: then only the root is there.
            for folder in (group, *group.parents):
                limit = folder / name
                if limit.exists():
                    said = limit.read_text().strip()
                    yield float("inf") if said == "max" else float(said)
                if folder == root:
                    break
