"""One server whose oddities can be combined, a run that is cut at any request, and what must be so all the same."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import hypothesis.strategies as st
from asyncssh import SFTPFailure, SFTPServer
from asyncssh.constants import FXF_READ, FXF_TRUNC, FXF_WRITE

from airflow_provider_sftp_s3.engine.options import MiB
from tests.faults.harness import Together
from tests.support import faulty_sftp as faulty
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer, CutConnection, Fault, Proceed, Request

# ------------------------------------------------------------------------------------------------- the odd server


class Oddity(NamedTuple):
    """
    One way in which a server can be odd.

    :param make: returns the fault.
    :param pull: all files arrive all the same, and `push`: all objects do.
    """

    make: Callable[[], Fault]
    pull: bool = True
    push: bool = True


class WantsTrunc(Fault):
    """A file that is to be written, made anew and not cut is taken for one to be read (node's ssh2)."""

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "OPEN" and request.flags & FXF_WRITE and not request.flags & FXF_TRUNC:
            raise SFTPFailure("flags that make no sense")
        return await proceed()


class EveryThirdRenameFails(Fault):
    """A RENAME of either kind fails now and then."""

    def __init__(self) -> None:
        self._renames = 0

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name in faulty.RENAMES:
            self._renames += 1
            if self._renames % 3 == 0:
                raise SFTPFailure("not now")
        return await proceed()


#: what may be stated of a file of so many bytes
_STATED: dict[str, Callable[[int], dict[str, Any]]] = {
    "no size": lambda size: {"size": None},
    "nothing": lambda size: {"size": None, "mtime": None, "atime": None},
    "size 0": lambda size: {"size": 0},
    "half the size": lambda size: {"size": size // 2},
    "stale": lambda size: {"size": size // 2, "mtime": 10**9, "atime": 10**9},
    "one byte too many": lambda size: {"size": size + 1},
    "mtime 0": lambda size: {"mtime": 0, "atime": 0},
    "mtime of 2106": lambda size: {"mtime": 2**32 - 1, "atime": 2**32 - 1},
}
_TOO_MANY = "one byte too many"
#: What no file is taken with: the last of them is young in each run, where its listing says that it is old.
_UNUSABLE = (_TOO_MANY, "mtime of 2106")

#: Of the faults that meet in one request, the first of these answers it.
ODDITIES: dict[str, Oddity] = {
    "line cut every 60 requests": Oddity(lambda: faulty.LineIsCutEvery(60), pull=False, push=False),
    "one handle for several": Oddity(faulty.OneHandleForSeveral),
    "two handles": Oddity(lambda: faulty.AtMostOpenHandles(2)),
    "one at a time": Oddity(faulty.OneAtATime),
    "no STAT": Oddity(lambda: faulty.Refuses(("STAT",))),
    "no FSTAT": Oddity(lambda: faulty.Refuses(("FSTAT",))),
    "no STAT of any kind": Oddity(lambda: faulty.Refuses(faulty.STATS), push=False),
    **{
        f"listing: {name}": Oddity(partial(faulty.ListingStates, stated), pull=name != _TOO_MANY)
        for name, stated in _STATED.items()
    },
    **{
        f"files: {name}": Oddity(partial(faulty.AttributesAre, stated), pull=name not in _UNUSABLE, push=False)
        for name, stated in _STATED.items()
    },
    "mode without type": Oddity(faulty.ModeWithoutType),
    "READDIR behind the end fails": Oddity(faulty.ReaddirBehindTheEndFails),
    "READDIR is not in order": Oddity(faulty.ReaddirIsNotInOrder),
    "no LSTAT": Oddity(faulty.NoLstat),
    "directories come with files": Oddity(faulty.DirectoriesComeWithFiles),
    "RENAME does nothing": Oddity(faulty.RenameDoesNothing, pull=False, push=False),
    "posix-rename does nothing": Oddity(lambda: faulty.RenameDoesNothing(("POSIX-RENAME",))),
    "RENAME leaves the source": Oddity(faulty.RenameLeavesTheSource, pull=False, push=False),
    "REMOVE does nothing": Oddity(faulty.RemoveDoesNothing, pull=False, push=False),
    "MKDIR wants a mode": Oddity(faulty.MkdirWantsMode),
    "MKDIR is refused": Oddity(faulty.MkdirIsRefused, pull=False, push=False),
    "OPEN wants TRUNC": Oddity(WantsTrunc),
    "reads are short": Oddity(lambda: faulty.ReadsAreShort(200_000)),
    "an error at the end": Oddity(faulty.ReadAtTheEndFails),
    "writes fail": Oddity(lambda: faulty.EveryNthWriteFails(7), push=False),
    "CLOSE fails": Oddity(faulty.CloseFails, push=False),
    "no posix-rename": Oddity(faulty.NoPosixRename),
    "posix-rename fails": Oddity(lambda: faulty.Refuses(("POSIX-RENAME",))),
    "renames fail": Oddity(EveryThirdRenameFails, pull=False, push=False),
    "no rename": Oddity(faulty.RenameIsRefused, pull=False, push=False),
    "no rename into another directory": Oddity(faulty.RenameAcrossIsRefused, pull=False),
    "RENAME sets the mtime": Oddity(faulty.RenameSetsTheMtime),
    "fsync fails": Oddity(lambda: faulty.Refuses(("FSYNC",))),
    "mtimes do not stick": Oddity(faulty.SetstatDoesNothing),
    "no SETSTAT": Oddity(faulty.SetstatIsRefused),
    "unknown once open": Oddity(faulty.UnknownOnceOpen),
    "taken at CLOSE": Oddity(faulty.FilesAreTakenAtClose, push=False),
    "one name for all cases": Oddity(Fault, push=False),  # the server's own: see OneNameForAll
}
_STATING = {name for name in ODDITIES if name.startswith(("listing: ", "files: ", "no STAT of", "unknown"))}


def is_workable(oddities: frozenset[str], direction: str) -> bool:
    """Say whether all arrives on a server with these oddities."""
    if direction == "pull" and "an error at the end" in oddities and oddities & _STATING:
        return False  # it may be any error, where not all say how large a file is
    return all(getattr(ODDITIES[name], direction) for name in oddities)


def says_what_files_are(oddities: frozenset[str]) -> bool:
    """Say whether listings and files agree, so that a second run finds what the first one has kept."""
    return not oddities & _STATING


# --------------------------------------------------------------------------------------------------- the scenario

KEYS = ("a", "again", "sub/Grüße", "sub/300 KB", "sub/deep/6 MiB", "sub/Again", "sub/again")
"""The last two are one name for servers that know one case only."""


class Cut(NamedTuple):
    """The end of a try, at its request of this number to either server: before or after that was done."""

    step: int
    how: Literal["killed before", "killed after", "cancelled", "cancelled twice"]


@dataclass(frozen=True)
class Scenario:
    """
    What one example has to go through.

    :param cuts: how the first tries end. There is one more, and nothing cuts that.
    :param refused: keys that S3 refuses in all but the last try.
    """

    oddities: frozenset[str] = frozenset()
    cuts: tuple[Cut, ...] = ()
    refused: frozenset[str] = frozenset()
    concurrency: int = 64
    min_age: float = 0.0


def scenarios() -> st.SearchStrategy[Scenario]:
    """Draw a server with some oddities, tries that are cut, and objects that S3 refuses."""
    cuts = st.builds(
        Cut, st.integers(0, 150), st.sampled_from(["killed before", "killed after", "cancelled", "cancelled twice"])
    )
    return st.builds(
        Scenario,
        oddities=st.frozensets(st.sampled_from(sorted(ODDITIES)), max_size=5),
        cuts=st.lists(cuts, max_size=2).map(tuple),
        refused=st.frozensets(st.sampled_from(KEYS), max_size=2),
        concurrency=st.sampled_from([64, 2, 1]),
        min_age=st.sampled_from([0.0, 0.2]),
    )


# --------------------------------------------------------------------------------- what cuts a run, and what watches it


@dataclass
class Interrupts(Fault):
    """
    Cuts a run at one of its requests to either server.

    A process that is killed asks for nothing more, and a task that is cancelled cleans up behind itself.
    """

    inner: Fault
    cut: Cut | None = None
    cancel: Callable[[], object] = lambda: None
    #: nothing that the dead process asks for is done
    dead: bool = False
    _steps: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _due: threading.local = field(default_factory=threading.local, init=False)

    def __post_init__(self) -> None:
        self.withheld = self.inner.withheld

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if self.dead:
            raise CutConnection
        # Of the many reads and writes of a large file, the first of each MiB counts.
        due = request.offset % MiB == 0 and self._is_due("before")
        if self.dead:
            raise CutConnection
        try:
            return await self.inner.answer(server, request, proceed)
        finally:  # an error is an answer, too
            if due:
                self._end_it("after")
            if self.dead:
                raise CutConnection

    def before(self, _: S3Request) -> None:
        if not self.dead:
            self._due.now = self._is_due("before")
        if self.dead:
            raise ConnectionResetError

    def after(self, _: S3Request) -> None:
        if self._due.now:
            self._end_it("after")
        if self.dead:
            raise ConnectionResetError

    def _is_due(self, moment: str) -> bool:
        with self._lock:
            self._steps += 1
            due = self.cut is not None and self._steps - 1 == self.cut.step
        if due:
            self._end_it(moment)
        return due

    def _end_it(self, moment: str) -> None:
        assert self.cut is not None
        if self.cut.how == f"killed {moment}":
            self.dead = True
        elif self.cut.how != "cancelled twice" and (self.cut.how, moment) != ("cancelled", "before"):
            return
        self.cancel()


@dataclass
class Watches(Fault):
    """
    Takes note of what is closed or removed before S3 has it. Innermost: it sees what is really done.

    :param contents: the files that must not be lost.
    :param stored: returns what S3 has.
    :param takes: a file is taken away when it is closed.
    :param removes: files are to be removed once S3 has them.
    """

    contents: set[bytes]
    stored: Callable[[], dict[str, bytes]]
    takes: bool
    removes: bool
    wrong: list[str] = field(default_factory=list)
    _reading: set[str] = field(default_factory=set)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        if request.name == "OPEN" and request.flags & FXF_READ:
            self._reading.add(request.path)
        if request.name == "CLOSE" and request.path in self._reading and self.takes:
            self._must_be_stored(server, request)
        if request.name == "REMOVE" and self.removes:
            self._must_be_stored(server, request)
        elif request.name == "REMOVE" and self._content(server, request) is not None:
            self.wrong.append(f"{request.name} {request.path}, which was to be kept")
        return await proceed()

    def _content(self, server: AsyncsshServer, request: Request) -> bytes | None:
        with contextlib.suppress(OSError):
            content = server.local(request.path).read_bytes()
            return content if content in self.contents else None
        return None

    def _must_be_stored(self, server: AsyncsshServer, request: Request) -> None:
        content = self._content(server, request)
        if content is not None and content not in self.stored().values():
            self.wrong.append(f"{request.name} {request.path} before S3 had it")


class OddServer(AsyncsshServer):
    """A server on which names are one name for all cases, where the scenario says so."""

    def __init__(self, root: Path) -> None:
        self.folds = False

        def files(channel: Any, chroot: bytes) -> Any:
            kind = faulty.OneNameForAll if self.folds else SFTPServer
            return kind(channel, chroot=chroot)

        super().__init__(root, sftp_factory=files)

    def set_up(self, scenario: Scenario, watches: Watches) -> Interrupts:
        """Be odd as the scenario says, and return what cuts its runs."""
        self.folds = "one name for all cases" in scenario.oddities
        chosen = [ODDITIES[name].make() for name in ODDITIES if name in scenario.oddities]
        self.fault = interrupts = Interrupts(Together(*chosen, watches))
        return interrupts


@contextlib.contextmanager
def refusing(s3: S3Server, interrupts: Interrupts, refused: frozenset[str]) -> Iterator[None]:
    """Have S3 refuse to store or mark these objects within the block, and cut runs there, too."""

    def refuse(request: S3Request) -> tuple[int, str] | None:
        wanted = request.method in ("PUT", "POST") and request.key in refused
        return (403, "AccessDenied") if wanted else None

    s3.before(interrupts.before)
    s3.before(refuse)
    s3.after(interrupts.after)
    try:
        yield
    finally:
        s3._before.clear()
        s3._after.clear()


async def cut_off(run: Callable[[], Any], interrupts: Interrupts, cut: Cut | None) -> Any:
    """Return what `run` returns; None where it was cut off."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(run())
    interrupts.cut, interrupts._steps = cut, 0

    def cancel() -> None:
        with contextlib.suppress(RuntimeError):  # it has ended meanwhile, and its loop as well
            loop.call_soon_threadsafe(task.cancel)

    interrupts.cancel = cancel
    try:
        await asyncio.wait({task})
        return None if task.cancelled() else task.result()
    finally:
        interrupts.cut = None
