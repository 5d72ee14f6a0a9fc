"""
The checksum files of a pull: a file that has another sum than its own says is not stored.

On its way such a file is what a trigger is: into S3 after its file, and away after it.
"""

from __future__ import annotations

import hashlib
import posixpath

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.checksum_files import MAX_BYTES, WantedSum, algorithm_of, sum_in
from airflow_provider_sftp_s3.engine.errors import FileError, NotFound
from airflow_provider_sftp_s3.engine.fetch import PulledFile, Uploaded
from airflow_provider_sftp_s3.engine.model import Trigger
from airflow_provider_sftp_s3.engine.pulled_triggers import PulledTriggers

#: Why a checksum file stays that is of no file.
NO_FILE_OF_SUM = "checksum file of no file"


class PulledSums(PulledTriggers):
    """The checksum files of one run of a pull."""

    word = "checksum file"
    no_file = NO_FILE_OF_SUM

    def check(self, trigger: Trigger, uploaded: Uploaded) -> None:
        """Let it pass: the sum was compared, and a checksum file may be older than its file, or newer."""

    def key_beside(self, trigger: Trigger, key: str) -> str:
        """Return the key of a checksum file: that of its file, and what is behind that in its name."""
        suffix = posixpath.splitext(paths.text(trigger.file.path))[1]
        return paths.key_for("", (key + suffix).encode())

    async def read(self, trigger: Trigger, pulled: PulledFile) -> None:
        """
        Read what the sum of a file must be, for what is uploaded of it from now on.

        The checksum file itself must then still be the same when S3 gets it.

        :raises NotFound: it is gone, and so is the file.
        :raises FileError: it cannot be read, or says no sum. The file stays.
        """
        path, session = trigger.file.path, self._tree.session
        try:
            async with session.reading(path) as file:
                reading = await file.read_all(trigger.file.stat.size or 0, lambda _: None, MAX_BYTES)
        except NotFound:
            if await session.exists(pulled.file.path):
                raise FileError("its checksum file was taken away meanwhile. The file stays") from None
            raise
        if reading.count > MAX_BYTES or not reading.ended:
            raise FileError(f"its checksum file has more than {MAX_BYTES} bytes, or does not end. The file stays")
        contents = b"".join(reading.pieces)
        algorithm = algorithm_of(self._template)
        wanted = sum_in(contents, posixpath.basename(pulled.file.path), algorithm)
        pulled.wanted = WantedSum(algorithm, wanted, "its checksum file")
        trigger.wanted = WantedSum("sha256", hashlib.sha256(contents).hexdigest(), "what was read of it before")

    @property
    def _template(self) -> str:
        return self._settings.checksum_file or ""
