"""What a row's Dags work on: an SFTP server and an S3 API in this process, filled, and looked at afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from asyncssh import SFTPPermissionDenied

from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault, Proceed, Request

PULLED = {"1.csv": b"one", "sub/2.csv": b"two", "sub/empty.csv": b""}
PUSHED = {"a/3.bin": b"three", "a/b/4": b"four"}
#: For the operators, and for `dags/flows.yaml`; the SFTP server's directories are named likewise.
BUCKETS = ("pull", "push", "shared", "example-inbound", "example-outbound")
#: Of a dated push, by path beneath its target; two of the ten days have nothing.
DATED = {f"2026-01-{day:02}/{name}": f"{name} {day}".encode() for day in (*range(1, 8), 9) for name in ("a", "b/c")}
BY_HAND = {"form": b"once"}


class World:
    """Files in three directories, objects in two buckets, and a server that refuses the operators' first file each."""

    def __init__(self, sftp: AsyncsshServer, s3: S3Server, client: Any) -> None:
        self._sftp, self._s3, self._client = sftp, s3, client
        for bucket in BUCKETS:
            where = {"LocationConstraint": self._client.meta.region_name}
            self._client.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
        for directory in ("push", "incoming", "by_hand"):
            sftp.local(f"/{directory}").mkdir()
        for name, content in PULLED.items():
            self._put_file(f"/pull/{name}", content)
            self._put_file(f"/outgoing/{name}", content)
            self._put_file(f"/shared/{name}", content)
        for name, content in PUSHED.items():
            self._client.put_object(Bucket="push", Key=f"out/{name}", Body=content)
            self._client.put_object(Bucket="example-outbound", Key=f"partner/{name}", Body=content)
        for name, content in DATED.items():
            self._client.put_object(Bucket="example-outbound", Key=f"daily/{name}", Body=content)
        for name, content in BY_HAND.items():
            self._client.put_object(Bucket="example-outbound", Key=f"by-hand/{name}", Body=content)
        sftp.fault = _FirstTryIsRefused("/pull/", "/push/")

    @property
    def connections(self) -> dict[str, Any]:
        """The Airflow connections that lead here."""
        return {"sftp_default": self._sftp.airflow_connection(), "aws_default": self._s3.airflow_connection()}

    def problems(self) -> dict[str, str]:
        """Return what is not as it has to be after the Dags have run, by the check that was to do it."""
        return {
            check: problem
            for check, problem in {
                "pull": self._pull_problem("pull", "/pull", ""),
                "push": self._push_problem("push", "out/", PUSHED, "/push"),
                "flows": self._pull_problem("example-inbound", "/outgoing", "partner/")
                or self._push_problem("example-outbound", "partner/", PUSHED, "/incoming")
                or self._pull_problem("shared", "/shared", ""),
                "form": self._push_problem("example-outbound", "by-hand/", BY_HAND, "/by_hand"),
                "backfill": self._push_problem("example-outbound", "daily/", DATED, "/incoming"),
            }.items()
            if problem
        }

    def _pull_problem(self, bucket: str, directory: str, prefix: str) -> str:
        """Everything is in S3, and in `.done` and nowhere else on the SFTP server."""
        paths = (Path(name) for name in PULLED)
        done = {str(path.parent / ".done" / path.name): PULLED[str(path)] for path in paths}
        return _difference(bucket, self._s3.objects(bucket), {prefix + name: PULLED[name] for name in PULLED}) or (
            _difference(directory, self._files(directory), done)
        )

    def _push_problem(self, bucket: str, prefix: str, pushed: dict[str, bytes], directory: str) -> str:
        """Everything is on the SFTP server, with nothing half beside it, marked in S3, and was so once."""
        metadata = [self._client.head_object(Bucket=bucket, Key=prefix + name)["Metadata"] for name in pushed]
        if not all(each.get("synced") == "true" for each in metadata):
            return f"not all objects of {bucket} are marked: {metadata}"
        copies = (request for request in self._s3.requests if request.operation == "CopyObject")
        marks = sorted(copy.key for copy in copies if copy.bucket == bucket and copy.key.startswith(prefix))
        marks = [key for key in marks if "/.sftp-s3/" not in key]  # probes, of which nothing is left
        if marks != sorted(prefix + name for name in pushed):
            return f"not each object of {bucket} was marked once: {marks}"
        tops = {Path(name).parts[0] for name in pushed}  # others push beside them
        found = {name: content for name, content in self._files(directory).items() if Path(name).parts[0] in tops}
        return _difference(directory, found, pushed)

    def _files(self, directory: str) -> dict[str, bytes]:
        root = self._sftp.local(directory)
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def _put_file(self, path: str, content: bytes) -> None:
        local = self._sftp.local(path)
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_bytes(content)
        os.utime(local, (1e9, 1e9))  # older than any min_age


class _FirstTryIsRefused(Fault):
    """Refuses the first file beneath each of the directories, in the first try: on the connection that asks first."""

    def __init__(self, *directories: str) -> None:
        self._directories = directories
        self._refused: dict[str, tuple[str, int]] = {}

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        for directory in self._directories:
            if request.name == "OPEN" and request.path.startswith(directory):
                asked = request.path, server.connections_total
                if self._refused.setdefault(directory, asked) == asked:
                    raise SFTPPermissionDenied("refused by the test")
        return await proceed()


def _difference(where: str, found: dict[str, bytes], wanted: dict[str, bytes]) -> str:
    return "" if found == wanted else f"{where} has {found} instead of {wanted}"


@contextmanager
def world(directory: Path) -> Iterator[World]:
    """A fresh :class:`World`; its files lie in `directory`."""
    with AsyncsshServer(directory) as sftp, S3Server() as s3, closing(s3.client()) as client:
        yield World(sftp, s3, client)
