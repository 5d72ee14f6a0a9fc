"""
The errors of the engine. An error's type answers "what now?", its message says what to change.

::

    SftpS3Error
    ├── ConfigurationError        nothing can work until somebody changes something: not retried
    │   ├── AuthenticationFailed  password, key or user cannot be used
    │   │   └── LoginRefused        ... since the SFTP server has refused them
    │   ├── HostKeyError          unknown or changed host key
    │   └── PlaceMissing          sftp_path or bucket does not exist, or is not a directory
    ├── ConnectionFailed          the server cannot be reached, hangs, or cut the line: worth a retry
    │   └── HandlesRepeat         ... or is hung up on, since it gives one handle to several open files
    ├── FileError                 one file failed; the others go on
    │   ├── NameRefused           a name or key that must not be used as a path, or cannot be
    │   ├── ChangedWhileReading   before, counted and after disagree
    │   ├── ChecksumDiffers       its checksum file says another sum
    │   ├── FileTimeout           `file_timeout` is over
    │   ├── TargetTaken           its name at the target is another file's, see `on_conflict`
    │   ├── StorageError          S3 refused or failed a request
    │   │   ├── Overwritten         ... since the object is another version by now
    │   │   ├── Archived            ... since the object has to be restored before it can be read
    │   │   ├── Corrupted           ... since what came of it is not what S3 has
    │   │   └── CredentialsExpired  ... since its credentials are out of date: renewed ones may be there by now
    │   └── ServerRefused         the SFTP server answered with an error
    │       ├── NotFound          ... namely that there is no such file
    │       └── NoRoom            ... as one does whose disk is full
    └── TransferError             the run is over and something in it failed
        └── FailedForGood           ... for no other reason than one that no retry can mend
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_sftp_s3.engine.model import Report


class SftpS3Error(Exception):
    """
    Base of every error raised on purpose by this package.

    All of them can be pickled, with their attributes: they leave processes, as those of a multiprocessing pool do.
    """

    #: what failed would fail in the same way if this very run were tried again
    for_good = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Python's own way calls the class with the message alone, which is too little where more is needed.
        return _made_again, (type(self), self.args), self.__dict__


def _made_again(kind: type[SftpS3Error], args: tuple[Any, ...]) -> SftpS3Error:
    """Return an error as it was raised, but for its attributes."""
    return kind.__new__(kind, *args)


class ConfigurationError(SftpS3Error, ValueError):
    """
    Nothing can work until somebody changes a setting, a credential or a place.

    Where that is found out in the middle of a run, :attr:`report` says what was done until then.
    """

    report: Report | None = None


class AuthenticationFailed(ConfigurationError):
    """The user, password or key cannot be used, or is refused: by the SFTP server, or by S3."""


class LoginRefused(AuthenticationFailed):
    """
    The SFTP server refused the user, password or key.

    It may count: each further attempt brings the account nearer to being locked.
    """


class HostKeyError(ConfigurationError):
    """The SFTP server's host key is unknown, or not the one that was expected."""


class PlaceMissing(ConfigurationError):
    """The directory or bucket to work in does not exist, or is something else."""


class ConnectionFailed(SftpS3Error):
    """
    No connection to the SFTP server, or no more: down, hanging, or cut.

    :param connection: the serial number of the connection that was lost; 0 where none could be opened.
    :param unanswered: it was this very request that the server did not answer. The others on the line are innocent.
    :param given_up: the connection was good, and we have ended it for the files that were open on it.
    :param in_login: it ended while we logged in: some servers do that where a password is wrong.
    """

    def __init__(
        self,
        message: str,
        connection: int = 0,
        unanswered: bool = False,
        given_up: bool = False,
        in_login: bool = False,
    ) -> None:
        super().__init__(message)
        self.connection = connection
        self.unanswered = unanswered
        self.given_up = given_up
        self.in_login = in_login


class HandlesRepeat(ConnectionFailed):
    """
    The SFTP server has given one handle to two files that are open at once: no byte of either is certain.

    The connection was hung up on for that. On the next one, one file is open at a time.
    """


class FileError(SftpS3Error):
    """One file failed. The others go on."""


class NameRefused(FileError):
    """
    A name or key that must not become a path, or cannot become a key.

    :param for_good: whatever becomes of the other files: False where one of them has the name.
    """

    def __init__(self, message: str, for_good: bool = True) -> None:
        super().__init__(message)
        self.for_good = for_good


class ChangedWhileReading(FileError):
    """The file's size or mtime, or the bytes counted, changed during the read."""


class ChecksumDiffers(FileError):
    """A file has another sum than its checksum file says, see `checksum_file`."""


class FileTimeout(FileError):
    """One file took longer than `file_timeout`."""


class TargetTaken(FileError):
    """Something else has the name that the file would have at the target, and is not to be replaced."""


class StorageError(FileError):
    """S3 refused or failed a request."""


class Overwritten(StorageError):
    """The version of the object that was asked for is no more."""


class Archived(StorageError):
    """The object lies in an archive, such as S3 Glacier: somebody has to restore it before it can be read."""


class Corrupted(StorageError):
    """What came of an object is not what S3 has, by a checksum. Another try may be as it should."""


class CredentialsExpired(StorageError):
    """S3 says that the credentials are out of date. Where something renews them, another try has the new ones."""


class ServerRefused(FileError):
    """
    The SFTP server answered a request with an error.

    :param is_generic: with "failure" and nothing more, which stands for all that the protocol has no word for.
    :param is_denied: with "permission denied".
    :param is_full: since its disk is full, or a quota: few servers have a word for that.
    :param is_in_the_way: since there is something that is no file under the name that a file was to get.
    """

    def __init__(
        self,
        message: str,
        is_generic: bool = False,
        is_denied: bool = False,
        is_full: bool = False,
        is_in_the_way: bool = False,
    ) -> None:
        super().__init__(message)
        self.is_generic = is_generic
        self.is_denied = is_denied
        self.is_full = is_full
        self.is_in_the_way = is_in_the_way


class NotFound(ServerRefused):
    """The SFTP server says that there is no such file."""


class NoRoom(ServerRefused):
    """The SFTP server failed to write a file, as one does whose disk or quota is full: others will fail, too."""


class TransferError(SftpS3Error):
    """A run ended with failures. :attr:`report` says what was done all the same."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


class FailedForGood(TransferError):
    """A run ended with failures, each of which a retry of it would meet again. The next run has a list of its own."""

    for_good = True
