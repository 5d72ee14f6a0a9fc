"""Where a transfer reads and writes, in the words of Airflow's assets and in those of OpenLineage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer

#: What need not be percent-encoded in the path of a URI, besides letters and digits (RFC 3986, pchar).
PATH_CHARACTERS = "/:@!$&'()*+,;=-._~"


class Places(NamedTuple):
    """
    The two directories that a transfer lies between, as they were when it ran.

    A directory stands for the files in it: it is what one can know beforehand, and a run has any number of files.
    """

    direction: Literal["pull", "push"]
    server: SftpServer
    sftp_path: str
    s3_bucket: str
    s3_prefix: str

    def target_uri(self) -> str:
        """
        Return the URI of the asset that the transfer updates: ``s3://bucket/prefix`` or ``sftp://host:port/path``.

        Percent-encoded, with no slash at its end: assets of equal URIs and different spellings are two on Airflow 3.
        """
        if self.direction == "pull":
            return f"s3://{self.s3_bucket}/{_path(self.s3_prefix)}".rstrip("/")
        return f"{self.server.uri_of(b'')}{_path(self.sftp_path)}".rstrip("/")

    def datasets(self) -> tuple[list[Any], list[Any]]:
        """
        Return OpenLineage's inputs and outputs: one dataset each. ``openlineage-python`` must be there.

        Named as Airflow's own S3 and SFTP operators name theirs: ``s3://bucket`` and the prefix, ``file://host:port``
        and the path.
        """
        from openlineage.client.event_v2 import Dataset

        authority = self.server.uri_of(b"").removeprefix("sftp://").rstrip("/")
        sftp = [Dataset(f"file://{authority}", self.sftp_path.rstrip("/") or "/")]
        s3 = [Dataset(f"s3://{self.s3_bucket}", self.s3_prefix.rstrip("/") or "/")]
        return (sftp, s3) if self.direction == "pull" else (s3, sftp)


def _path(path: str) -> str:
    return quote(path.strip("/"), PATH_CHARACTERS)
