"""
Where the objects of a push go: the path of each, by its key and perhaps by `rename_to`, and whose a path is.

Two keys of a run may come to one path: the second one fails. Two paths may be one to the server: see ``AlikeNames`` in
``engine.naming``.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Awaitable, Callable, Iterator

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import FileError, NameRefused, TargetTaken
from airflow_provider_sftp_s3.engine.model import Stat
from airflow_provider_sftp_s3.engine.naming import AlikeNames, Namesakes
from airflow_provider_sftp_s3.engine.rename import KeyPaths, beside
from airflow_provider_sftp_s3.engine.settings import PushSettings
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.triggers import Beside

#: Names that are tried for an object whose own one is taken: each run that is killed before a mark leaves one behind.
MAX_BESIDE = 10


class Places:
    """
    The paths of one run of a push.

    :param prefix: of all keys, as :func:`paths.directory_prefix` gives it.
    :param root: the directory beneath which all paths are.
    :param check: raises NameRefused where a path is another kind of file's.
    :param is_of_this_run: says whether a key is pushed by this run, or was by an earlier try of it.
    :param idle_timeout: seconds that a search for `strip_regex` may take.
    """

    def __init__(
        self,
        settings: PushSettings,
        prefix: str,
        root: bytes,
        session: SftpSession,
        check: Callable[[bytes], None],
        is_of_this_run: Callable[[str], Awaitable[bool]],
        idle_timeout: float,
    ) -> None:
        self._beside = Beside.of(settings)
        self._root = root
        self._check = check
        self._is_of_this_run = is_of_this_run
        self._renames_taken = settings.on_conflict == "rename"
        self._paths = KeyPaths(prefix, settings.strip_regex, settings.rename_to, idle_timeout)
        #: without these two, keys and paths are one to one
        self._naming_by = " and ".join(name for name in ("strip_regex", "rename_to") if getattr(settings, name))
        self._listed = Namesakes() if self._naming_by else None
        self._taken = Namesakes() if self._naming_by else None
        self.alike = AlikeNames(session, root)

    def close(self) -> None:
        """Be done with it: no path is asked for any more."""
        self._paths.close()

    @property
    def renames(self) -> bool:
        """Whether there is a `rename_to`."""
        return self._paths.renames

    @property
    def need_stat(self) -> bool:
        """Whether a path is made of an object's size or mtime."""
        return bool(self._paths.needs)

    def check_key(self, key: str) -> None:
        """Raise NameRefused where a key comes to no path at all."""
        self._paths.check(key)

    def of(self, key: str, stat: Stat) -> bytes:
        """Return the path that an object of this size and mtime is pushed to. :raises NameRefused: there is none."""
        path = paths.path_beneath(self._root, self._paths.of(key, stat))
        self._check(path)
        if self._beside is not None and (kind := self._beside.kind_of(paths.text(posixpath.basename(path)))):
            raise NameRefused(f"it would have the name of a {kind} at the partner, and be taken for one: exclude it")
        return path

    def directory_of(self, key: str) -> bytes:
        """Return the directory that a key is pushed to, whatever its object is."""
        return posixpath.dirname(self.of(key, Stat(0, 0)))

    def note(self, key: str, stat: Stat) -> None:
        """Take note that the partner has an object under its path."""
        with contextlib.suppress(FileError):
            self.alike.note(self.of(key, stat))

    def namesake_before(self, key: str, stat: Stat) -> str | None:
        """Return the key that came to the same path last, None where none did, and remember this one."""
        if self._listed is None:
            return None
        try:
            name = paths.text(self.of(key, stat))
        except FileError:
            return None  # the transfer is where this is seen
        before = self._listed.of(name)
        self._listed.note(name, key)
        return None if before == key else before

    async def take(self, key: str, namesake: str | None, path: bytes) -> None:
        """
        Take the path of an object that is about to be pushed. It may do so again, as after a lost connection.

        What an earlier Dag run has delivered under the name is replaced, as a newer file replaces an older one.

        :param namesake: what :meth:`namesake_before` has said of it.
        :raises NameRefused: another object of this run, or of an earlier try of it, has the path.
        """
        if self._taken is None:
            return
        name = paths.text(path)
        first = self._taken.of(name)
        if first is None and namesake is not None and await self._is_of_this_run(namesake):
            first = namesake
        # Once more: in the meantime another one may have taken it.
        first = first or self._taken.of(name) or key
        if first != key:
            raise NameRefused(
                f"{self._naming_by} makes the same path of this key and of {paths.printable(first)!r}, which has it in "
                f"this run: change {self._naming_by}, or exclude one of the two",
                for_good=False,
            )
        self._taken.note(name, key)

    def around(self, path: bytes, stat: Stat) -> Iterator[bytes]:
        """Yield where an object may go, one after the other where the one before is taken."""
        yield path
        for number in range(MAX_BESIDE if self._renames_taken else 0):
            yield beside(paths.text(path), stat.mtime, number).encode("utf-8", "surrogateescape")

    def taken_error(self, path: bytes, stat: Stat) -> TargetTaken:
        """Return what to raise where all of those are taken."""
        *others, last = (repr(paths.printable(place)) for place in self.around(path, stat))
        names = f"{others[0]} and {len(others)} others, up to {last}, are" if others else f"{last} is"
        return TargetTaken(
            f"{names} there already. It may be this very object, where a run was ended before it was marked: look, and "
            "move or remove it"
        )
