"""
What has been learned of a server in this run, and what is done about it.

| trait | how it is learned | what is done |
|---|---|---|
| files outlive their CLOSE | one was there after it | the others of its directory are closed before S3 has them |
| answers are whole | no READ has brought less than was asked for | files are closed along with their last READ |
| no posix-rename | it is not announced, or never worked, and RENAME does | RENAME; what is in the way is moved aside |
| no fsync | it is not announced, or has failed and never worked | files are published without it |
| a rename sets the mtime | two files had another one after it | what is to be deleted is not renamed first |
| RENAME replaces nothing | it is refused between two files of ours | what must not replace a file is renamed by it |
| no exclusive OPEN | no file was ever made with EXCL, and one is without it | new files are opened without it |
| directories want a mode | MKDIR fails without attributes, and works with them | MKDIR has them from then on |
| handles repeat | an OPEN gives a handle that is open already | a new session, where one file is open at a time |
| RENAME and REMOVE do what they say | the first of a run, of each kind, is looked at | else it has failed |
| no LSTAT | it was never answered, and STAT is | STAT |

What shows with a single file is dealt with where that file is:

| oddity | how it is seen | what is done |
|---|---|---|
| few open files | OPEN is refused, and works when another file is closed | others wait: `handles` |
| sizes unknown or too small | the READ that should show the end | `whole`, `fetch`: to the end, looked at twice |
| an error for an end | where all sizes agree | `fetch`: it is the end |
| no FSTAT | it is refused, or has no size | `file`: the name is asked, after CLOSE if need be |
| one size by name, one by handle | what was moved is never what was read | `done`: read from there, between two looks |
| RENAME sets the mtime | what was moved has its size, and another mtime | `done`: read once more from there |
| mtimes do not stick | one that is set is not there | `done`: nothing is purged |
| one name for several | a file is there under a name that is alike | `engine.naming`: the second fails |
| a RENAME of nothing is not answered | after `idle_timeout` | `done`: it is asked no more whether files can be moved |
| modes without type, no STAT | as they come | `protocol`, `session`: it is listed, or opened |
| READDIR fails behind its end | as it comes | `entries`: what came ahead of it counts |
| READDIR is not answered in order | names behind the end | `entries`: they count |
| a file and a directory of one name | both are listed, as object stores have them | `entries`: both are taken |
| mtimes are 0 | as they come | `listing`, `done`: they are not known |
"""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_sftp_s3.engine.paths import directory_of


class Traits:
    """
    The traits of one server, in one run. The fast way is for servers that have earned it.

    :param notice: takes what the user should know, once for each trait.
    """

    def __init__(self, notice: Callable[[str], None]) -> None:
        self._notice = notice
        self._outlived: set[bytes] = set()
        self.answers_whole = True
        #: None until they have worked
        self.has_posix_rename: bool | None = None
        self.has_fsync: bool | None = None
        self.has_exclusive_open: bool | None = None
        self.has_lstat: bool | None = None
        self.directories_want_mode = False
        #: of the requests to rename and to remove, those that were seen to be done where the answer was OK
        self.are_done: set[str] = set()
        #: serial number of the connection on which handles have repeated, None where they never have
        self.handles_repeated_on: int | None = None
        #: None until it is known
        self.rename_sets_mtime: bool | None = None
        self._renamed_with_another_mtime = 0
        #: whether a plain RENAME replaces what is there: None until it was tried
        self.rename_replaces: bool | None = None

    def believe(self) -> None:
        """Have the server's word do for what it answers with OK."""
        self.are_done = {"posix-rename", "rename", "remove"}

    def outlive_close(self, path: bytes, *, is_openssh: bool) -> bool:
        """
        Say whether files beside `path` are known to be there still after they were closed.

        :param is_openssh: it is OpenSSH's own server, with which one file shows it for all.
        """
        return bool(self._outlived) and (is_openssh or directory_of(path) in self._outlived)

    def has_outlived_close(self, path: bytes) -> None:
        """Take note that the file at `path` was closed and was there after that."""
        self._outlived.add(directory_of(path))

    def rename_did_not_keep_mtime(self) -> None:
        """Take note that a file had another mtime after a rename: it may have been another file, once."""
        self._renamed_with_another_mtime += 1
        if self.rename_sets_mtime is None and self._renamed_with_another_mtime > 1:
            self.rename_sets_mtime = True

    def learn_rename(self, *, replaces: bool) -> None:
        """Take note of whether a plain RENAME replaces what is there, or may do so."""
        self.rename_replaces = replaces
        if replaces:
            self._notice(
                "the server was not seen to refuse a RENAME to a name that is taken: before each that must replace "
                "nothing is a look, and what comes under the name between the two is replaced"
            )

    def posix_rename_fails(self, reason: str) -> None:
        """Take note that RENAME has worked where posix-rename, which is announced, has failed."""
        if self.has_posix_rename is False:
            return
        self.has_posix_rename = False
        self._notice(f"the server announces posix-rename, and refuses it ({reason}): RENAME is used instead")

    def fsync_fails(self, reason: str) -> None:
        """Take note that fsync, which is announced, has failed and never worked."""
        if self.has_fsync is False:
            return
        self.has_fsync = False
        self._notice(
            f"the server announces fsync, and refuses it ({reason}): files are published without being put on its disk"
        )

    def handles_repeat(self, connection: int) -> None:
        """Take note that on this connection several files have had one handle."""
        if self.handles_repeated_on is not None:
            return
        self.handles_repeated_on = connection
        self._notice(
            "the server gives one handle to several files that are open at once, so what is read or written with it may"
            " be another file's: all that was open is begun again, and from now on one file is open at a time"
        )
