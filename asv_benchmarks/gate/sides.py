"""The two sides of a comparison: the package at a revision, and processes that run either."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BASES = ROOT / "asv_benchmarks" / ".cache" / "gate"
WORKER = Path(__file__).with_name("worker.py")


class CellFails(Exception):
    """A side can't run a cell."""


def package_at(revision: str) -> Path:
    """Return a folder that holds ``fastem`` as it is at a revision.

    It stays, with the kernels that are compiled there, until another one is asked for.
    """
    folder = BASES / _git("rev-parse", "--verify", f"{revision}:fastem").decode().strip()
    if not folder.exists():
        shutil.rmtree(BASES, ignore_errors=True)
        BASES.mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=BASES) as temporary:
            with tarfile.open(fileobj=io.BytesIO(_git("archive", revision, "fastem"))) as archive:
                archive.extractall(temporary, filter="data")
            Path(temporary, "fastem").rename(_made(folder) / "fastem")
    return folder


def _made(folder):
    folder.mkdir()
    return folder


def _git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True)
    if done.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {done.stderr.decode().strip()}")
    return done.stdout


class Worker:
    """A process that times cells with one side's package."""

    def __init__(self, package_folder: Path):
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), str(package_folder), str(ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def prepare(self, name: str) -> float:
        """Set a cell up, compile what it needs, and return the time of a call."""
        return self._ask("prepare", name)

    def seconds(self, number: int) -> float:
        """Return the mean time of so many calls."""
        return self._ask("run", number)

    def _ask(self, request, argument):
        self._process.stdin.write(json.dumps([request, argument]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a process of the gate has died")
        answer = json.loads(line)
        if isinstance(answer, str):
            raise CellFails(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
