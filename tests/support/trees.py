"""Trees of files on this machine: what a partner has put there, and what is there after a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

#: 2026-01-31T23:59:58Z: old enough for any `min_age`.
WHEN = 1769903998


def put(root: Path, files: Mapping[str, bytes], mtime: float = WHEN) -> None:
    """Write files beneath `root`, by their relative paths, all with the same mtime."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (mtime, mtime))


def tree(root: Path) -> dict[str, bytes]:
    """Return every regular file beneath `root`, by its relative path; none that goes away while it is looked at."""
    found = {}
    for path in sorted(root.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found[str(path.relative_to(root))] = path.read_bytes()
    return found


def done(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the same files where a pull moves them."""
    return {str(Path(name).parent / ".done" / Path(name).name): content for name, content in files.items()}
