"""A partner who takes a file as soon as something beside it says that it is whole."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Listener:
    """
    Looks every 2 ms, and keeps what it has seen that it should not.

    :param files: what is to be in each file when its trigger is there.
    :param trigger: what the names of triggers end in.
    :param of_all: the files that one trigger tells of, beside it. None: the one of its own name.
    :param sums: what the names of checksum files end in, such as ".sha256". None: there are none.
    :param sums_alone: such a file is looked at also where there is no trigger yet.
    """

    def __init__(
        self,
        root: Path,
        files: dict[str, bytes],
        trigger: str | None,
        of_all: tuple[str, ...] = (),
        sums: str | None = None,
        *,
        sums_alone: bool = True,
    ) -> None:
        self.root = root
        self.files = files
        self.trigger = trigger
        self.of_all = of_all
        self.sums = sums
        self.sums_alone = sums_alone
        self.looks = 0
        self.seen: set[str] = set()
        self.wrong: set[str] = set()
        self._ended = threading.Event()

    def told_of(self, path: Path) -> list[Path]:
        if self.of_all:
            return [path.parent / name for name in self.of_all]
        return [path.with_name(path.name.removesuffix(self.trigger or ""))]

    def look(self) -> None:
        self.looks += 1
        if self.trigger is not None:
            for path in self.root.rglob(f"*{self.trigger}"):
                self._look_at_a_trigger(path)
        if self.sums is not None and self.sums_alone:
            for path in self.root.rglob(f"*{self.sums}"):
                self._look_at_a_sum(path)

    def _look_at_a_trigger(self, path: Path) -> None:
        relative = str(path.relative_to(self.root))
        for each in self.told_of(path):
            name = str(each.relative_to(self.root))
            right = _read(each) == self.files[name]
            if right and self.sums is not None:
                right = self._is_sum_of(_read(each.with_name(each.name + self.sums)), self.files[name], each.name)
            if not right and path.exists():  # else it was taken away meanwhile, as it should be
                self.wrong.add(relative)
        self.seen.add(relative)

    def _look_at_a_sum(self, path: Path) -> None:
        relative, said = str(path.relative_to(self.root)), _read(path)
        if said is None:
            return
        file = path.with_name(path.name.removesuffix(self.sums or ""))
        if not self._is_sum_of(said, _read(file), file.name) and _read(path) == said:
            self.wrong.add(relative)
        self.seen.add(relative)

    def _is_sum_of(self, said: bytes | None, data: bytes | None, name: str) -> bool:
        if said is None or data is None:
            return False
        return said == f"{hashlib.new((self.sums or '')[1:], data).hexdigest()}  {name}\n".encode()

    def _listen(self) -> None:
        while not self._ended.wait(0.002):
            self.look()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Look within the block, and once more behind it."""
        thread = threading.Thread(target=self._listen)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()
        self.look()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
