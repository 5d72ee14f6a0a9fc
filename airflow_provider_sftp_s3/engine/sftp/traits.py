"""
What has been learned of a server in this run, and what is done about it.

| trait | how it is learned | what is done |
|---|---|---|
| files outlive their CLOSE | one was there after it | the others of its directory are closed before S3 has them |
| answers are whole | no READ has brought less than was asked for | files are closed along with their last READ |
| no posix-rename | it is not announced, or never worked, and RENAME does | RENAME; what is in the way is moved aside |
| no fsync | it is not announced, or has failed and never worked | files are published without it |
| no exclusive OPEN | no file was ever made with EXCL, and one is without it | new files are opened without it |
| directories want a mode | MKDIR fails without attributes, and works with them | MKDIR has them from then on |

The number of files that the server opens at once is in :mod:`~airflow_provider_sftp_s3.engine.sftp.handles`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable


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
        self.directories_want_mode = False

    def outlive_close(self, path: bytes, *, is_openssh: bool) -> bool:
        """
        Say whether files beside `path` are known to be there still after they were closed.

        :param is_openssh: it is OpenSSH's own server, with which one file shows it for all.
        """
        return bool(self._outlived) and (is_openssh or posixpath.dirname(path) in self._outlived)

    def has_outlived_close(self, path: bytes) -> None:
        """Take note that the file at `path` was closed and was there after that."""
        self._outlived.add(posixpath.dirname(path))

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
