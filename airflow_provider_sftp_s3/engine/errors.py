"""
The errors of the engine. An error's type answers "what now?", its message says what to change.

::

    SftpS3Error
    ├── ConfigurationError        nothing can work until somebody changes something: not retried
    │   ├── AuthenticationFailed  password, key or user refused
    │   ├── HostKeyError          unknown or changed host key
    │   ├── PlaceMissing          sftp_path or bucket does not exist, or is not a directory
    │   └── HandlesRepeat         the server gives one handle to several open files
    ├── ConnectionFailed          the server cannot be reached, hangs, or cut the line: worth a retry
    ├── FileError                 one file failed; the others go on
    │   ├── NameRefused           a name or key that must not be used as a path, or cannot be
    │   ├── ChangedWhileReading   before, counted and after disagree
    │   ├── FileTimeout           `file_timeout` is over
    │   ├── StorageError          S3 refused or failed a request
    │   │   ├── Overwritten         ... since the object is another version by now
    │   │   └── CredentialsExpired  ... since its credentials are out of date: renewed ones may be there by now
    │   └── ServerRefused         the SFTP server answered with an error
    │       └── NotFound          ... namely that there is no such file
    └── TransferError             the run is over and something in it failed
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_sftp_s3.engine.model import Report


class SftpS3Error(Exception):
    """Base of every error raised on purpose by this package."""


class ConfigurationError(SftpS3Error, ValueError):
    """
    Nothing can work until somebody changes a setting, a credential or a place.

    Where that is found out in the middle of a run, :attr:`report` says what was done until then.
    """

    report: Report | None = None


class AuthenticationFailed(ConfigurationError):
    """The SFTP server refused the user, password or key."""


class HostKeyError(ConfigurationError):
    """The SFTP server's host key is unknown, or not the one that was expected."""


class PlaceMissing(ConfigurationError):
    """The directory or bucket to work in does not exist, or is something else."""


class HandlesRepeat(ConfigurationError):
    """The SFTP server has given one handle to two files that are open at once: no byte of either is certain."""


class ConnectionFailed(SftpS3Error):
    """
    No connection to the SFTP server, or no more: down, hanging, or cut.

    :param connection: the serial number of the connection that was lost; 0 where none could be opened.
    :param unanswered: it was this very request that the server did not answer. The others on the line are innocent.
    :param given_up: the connection was good, and was ended since too many files were open on it.
    """

    def __init__(self, message: str, connection: int = 0, unanswered: bool = False, given_up: bool = False) -> None:
        super().__init__(message)
        self.connection = connection
        self.unanswered = unanswered
        self.given_up = given_up


class FileError(SftpS3Error):
    """One file failed. The others go on."""


class NameRefused(FileError):
    """A name or key that must not become a path, or cannot become a key."""


class ChangedWhileReading(FileError):
    """The file's size or mtime, or the bytes counted, changed during the read."""


class FileTimeout(FileError):
    """One file took longer than `file_timeout`."""


class StorageError(FileError):
    """S3 refused or failed a request."""


class Overwritten(StorageError):
    """The version of the object that was asked for is no more."""


class CredentialsExpired(StorageError):
    """S3 says that the credentials are out of date. Where something renews them, another try has the new ones."""


class ServerRefused(FileError):
    """
    The SFTP server answered a request with an error.

    :param is_generic: with "failure" and nothing more, which stands for all that the protocol has no word for.
    :param is_denied: with "permission denied".
    """

    def __init__(self, message: str, is_generic: bool = False, is_denied: bool = False) -> None:
        super().__init__(message)
        self.is_generic = is_generic
        self.is_denied = is_denied


class NotFound(ServerRefused):
    """The SFTP server says that there is no such file."""


class TransferError(SftpS3Error):
    """A run ended with failures. :attr:`report` says what was done all the same."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[type[TransferError], tuple[str, Report]]:
        return type(self), (str(self), self.report)
