"""
The checksum files of a push: the sum of what was sent, in a file beside it.

An old one is taken away before new data comes, and the new one gets its name when it is whole, as its file does. The
mark comes after: so whoever is killed before leaves an object unmarked, and the next run writes both.
"""

from __future__ import annotations

import posixpath
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.announcement import take_away
from airflow_provider_sftp_s3.engine.checksum_files import algorithm_of, begin_sum, line_of
from airflow_provider_sftp_s3.engine.delivery import Delivery
from airflow_provider_sftp_s3.engine.errors import FileError, NoRoom, ServerRefused
from airflow_provider_sftp_s3.engine.s3.bucket import Version
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.triggers import TriggerNames

if TYPE_CHECKING:
    from hashlib import _Hash


class _Line:
    """What is in a checksum file, to be written as an object is."""

    def __init__(self, data: bytes, version: Version) -> None:
        self._data = data
        self.version = version._replace(size=len(data))

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield self._data


class DeliveredSums:
    """
    The checksum files of one run of a push.

    :param template: what they are called.
    :param looks: whether the server has to show that an old one is gone. Else its refusal to show is enough.
    """

    def __init__(self, template: str, session: SftpSession, delivery: Delivery, *, looks: bool) -> None:
        self._names = TriggerNames(template, "checksum_file")
        self._algorithm = algorithm_of(template)
        self._session = session
        self._delivery = delivery
        self._looks = looks

    def begin(self) -> _Hash:
        """Return what is to be updated with the bytes of an object."""
        return begin_sum(self._algorithm)

    def path_for(self, path: bytes) -> bytes:
        """Return the path of the checksum file of the file at `path`. :raises NameRefused: its name is too long."""
        directory, name = posixpath.split(path)
        return posixpath.join(directory, self._names.of(paths.text(name)).encode("utf-8", "surrogateescape"))

    async def withdraw(self, path: bytes) -> None:
        """
        Take an old one away, since an object is about to come to `path`.

        :raises FileError: it is there, or may be.
        """
        await take_away(self._session, self.path_for(path), "checksum_file", looks=self._looks)

    async def write(self, path: bytes, version: Version, running: _Hash) -> None:
        """
        Write the checksum file of a file that has come to `path`.

        :param version: the object, whose mtime it gets, too, where files do.
        :param running: the sum of what was written.
        :raises FileError: it is not there.
        """
        own = self.path_for(path)
        try:
            line = _Line(line_of(running.hexdigest(), path), version)
            async with self._delivery.prepared(line, own) as publish:
                await publish(own, replaces=True)
        except NoRoom:
            raise
        except ServerRefused as refused:
            raise FileError(f"it is there, and its checksum file cannot be made: {refused}") from None
