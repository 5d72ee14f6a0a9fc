"""
A connection, tried step by step, each with what to change: `python -m airflow_provider_sftp_s3 test-connection`.

Nothing of a user's is changed or opened: a file that is read may be used up on the server. S3 is asked about names that
do not exist, on conditions that cannot hold. The server is asked to write only where that is wanted, a file of our own.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Literal, NamedTuple

from airflow_provider_sftp_s3._compat import AirflowException, BaseHook
from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import (
    ConfigurationError,
    ConnectionFailed,
    HostKeyError,
    SftpS3Error,
    StorageError,
)
from airflow_provider_sftp_s3.engine.movable import why_not_movable
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket, Version
from airflow_provider_sftp_s3.engine.s3.marks import Look, Marks
from airflow_provider_sftp_s3.engine.s3.names import NO_ETAG, probe_name
from airflow_provider_sftp_s3.engine.s3.requests import S3Refused
from airflow_provider_sftp_s3.engine.sftp.server import SftpServer
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.temporary import TEMP_NAME, TemporaryNames
from airflow_provider_sftp_s3.engine_thread import EngineThread
from airflow_provider_sftp_s3.hooks.s3_bucket import bucket_of
from airflow_provider_sftp_s3.hooks.sftp_server import SftpSessionHook

State = Literal["ok", "FAILED", "-"]


class Step(NamedTuple):
    """
    One step.

    :param state: "-" where it was not tried.
    :param said: what was seen, or what is wrong and what to change.
    """

    name: str
    state: State
    said: str


class _Failed(Exception):
    """A step has failed, and none of those after it can be tried."""


class ConnectionTest:
    """
    Tries connections, and tells of each step as it is done.

    :param tell: is given each step.
    """

    def __init__(self, tell: Callable[[Step], None]) -> None:
        self._tell = tell
        #: whether no step has failed
        self.is_fine = True

    def _ok(self, name: str, said: str) -> None:
        self._tell(Step(name, "ok", said))

    def _skip(self, name: str, said: str) -> None:
        self._tell(Step(name, "-", said))

    def _fail(self, name: str, said: object) -> None:
        self.is_fine = False
        self._tell(Step(name, "FAILED", str(said)))

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Have what is raised on purpose within the block be the failure of a step, and the end of this side."""
        try:
            yield
        except (SftpS3Error, AirflowException) as failed:
            self._fail(name, failed)
            raise _Failed from None

    # --- SFTP

    def sftp(self, conn_id: str, path: str, *, writes: bool) -> None:
        """
        Try an `sftp` connection.

        :param path: the directory to look at; "." is where one is after the login.
        :param writes: make an empty file in it, rename and remove it.
        """
        with contextlib.suppress(_Failed):
            with self._step("connection"):
                server, options = SftpSessionHook(conn_id).read(TransferOptions())
            self._ok("connection", f"{conn_id}: {server.username or '(no user)'} at {server.where}")
            EngineThread().run(lambda: self._try_sftp(server, options, path.encode(), writes=writes))

    async def _try_sftp(self, server: SftpServer, options: TransferOptions, path: bytes, *, writes: bool) -> None:
        with contextlib.suppress(_Failed):
            await self._try_address(server, options)
            async with self._logged_in(server, options) as session:
                await self._try_directory(session, path)
                await self._try_to_write(session, path, writes=writes)

    async def _try_address(self, server: SftpServer, options: TransferOptions) -> None:
        if server.proxy_command or server.ssh_config:
            self._skip("address", "the way there is that of a proxy command or of ssh_config: the login will tell")
            return
        try:
            async with asyncio.timeout(options.conn_timeout):
                reader, writer = await asyncio.open_connection(server.host, server.port)
                try:
                    banner = (await reader.readline()).rstrip()
                finally:
                    writer.close()
        except TimeoutError:
            self._fail("address", f"{server.where} does not answer within {options.conn_timeout} s: a firewall?")
            raise _Failed from None
        except (OSError, ValueError) as failed:
            self._fail(
                "address", f"{server.where}: {paths.reason_of(failed)}. Look at host and port, and the way there"
            )
            raise _Failed from None
        if not banner.startswith(b"SSH-"):
            self._fail("address", f"what answers at {server.where} is no SSH server: it says {paths.said(banner)!r}")
            raise _Failed
        self._ok("address", f"{server.where} answers: {paths.said(banner)}")

    @contextlib.asynccontextmanager
    async def _logged_in(self, server: SftpServer, options: TransferOptions) -> AsyncIterator[SftpSession]:
        """Log in, once: a refused login brings an account nearer to being locked."""
        session = SftpSession(server, options)
        try:
            await session.__aenter__()
        except HostKeyError as wrong:
            self._fail("host key", wrong)
            raise _Failed from None
        except SftpS3Error as failed:
            self._fail("login", failed)
            raise _Failed from None
        try:
            checked = "is the one that is known" if server.verify_host_key else "is not checked: set host_key in Extra"
            self._ok("host key", checked)
            self._ok("login", f"as {server.username or 'the user of this process'}")
            yield session
        finally:
            await session.__aexit__(None, None, None)

    async def _try_directory(self, session: SftpSession, path: bytes) -> None:
        with self._step("directory"):
            if not await session.is_directory(path):
                self._fail("directory", f"there is no directory {paths.printable(path)!r}: change sftp_path")
                raise _Failed
        self._ok("directory", paths.printable(path))
        with self._step("list"):
            entries = await session.list_directory(path)
        self._ok("list", f"{len(entries)} names")
        self._skip("read", "a file that is read may be used up on the server: `plan` and a first run tell")

    async def _try_to_write(self, session: SftpSession, path: bytes, *, writes: bool) -> None:
        if not writes:
            self._skip("write", "add --write, which makes an empty file of our own, renames it and removes it")
            return
        names = TemporaryNames(TEMP_NAME)
        name = names.path_for(posixpath.join(path, b"file"))
        with self._step("write"):
            async with session.creating(name) as file:
                await file.close()
            refused = await why_not_movable(session, path, path)
            await session.remove(name)
        self._ok("write", "a file could be made and removed")
        if refused is not None:
            self._fail(
                "rename",
                f"{refused}. A pull cannot move files to .done: after_transfer keep; a push needs temp_name none",
            )
        else:
            self._ok("rename", "nothing is known against it")

    # --- S3

    def s3(self, conn_id: str | None, name: str | None, prefix: str) -> None:
        """
        Try an `aws` connection.

        :param conn_id: None: credentials as boto3 finds them.
        :param name: of a bucket; None: none is tried.
        :param prefix: of the objects.
        """
        if name is None:
            self._skip("bucket", "add --bucket, and --prefix: an aws connection is good for one bucket, or for none")
            return
        with contextlib.suppress(_Failed):
            with self._step("connection"):
                directory = paths.directory_prefix(prefix)
                bucket = bucket_of(conn_id, name, TransferOptions(idle_timeout=10))
            self._ok("connection", f"{conn_id or 'as boto3 finds credentials'}: {bucket.endpoint.url}")
            EngineThread().run(lambda: self._try_s3(bucket, directory))

    async def _try_s3(self, bucket: Bucket, prefix: str) -> None:
        with contextlib.suppress(_Failed):
            async with bucket:
                with self._step("bucket"):
                    await bucket.check()
                self._ok("bucket", f"{bucket.name} is there, and the credentials are good")
                key = await self._try_to_list(bucket, prefix)
                version = await self._try_to_read(bucket, prefix, key)
                await self._try_to_put(bucket, prefix)
                await self._try_to_mark(bucket, key, version)

    async def _try_to_list(self, bucket: Bucket, prefix: str) -> str | None:
        """Return the first key; None: there is none, or it cannot be listed."""
        try:
            async with contextlib.aclosing(bucket.list(prefix)) as entries:
                async for entry in entries:
                    if not entry.key.endswith("/") and not paths.is_state(entry.key):
                        self._ok("list", f"there are objects under {bucket.uri_of(prefix)}")
                        return entry.key
        except ConnectionFailed as failed:
            allow = f"Allow s3:ListBucket on {bucket.name!r}: a push needs it, and after_transfer keep"
            self._fail("list", f"{failed}. {allow}")
            return None
        self._ok("list", f"nothing is under {bucket.uri_of(prefix)}")
        return None

    async def _try_to_read(self, bucket: Bucket, prefix: str, key: str | None) -> Version | None:
        name = key or probe_name(f"{prefix}file")
        try:
            version = await bucket.head(name)
        except StorageError as failed:
            self._fail("read", f"{failed}. Allow s3:GetObject on {bucket.uri_of(prefix)}*: a push needs it")
            return None
        self._ok(
            "read", f"what S3 says of {paths.printable(name)!r}" if key else "a name that is not there is not there"
        )
        return version

    async def _try_to_put(self, bucket: Bucket, prefix: str) -> None:
        name = probe_name(f"{prefix}file")
        try:
            await bucket.requests.ask("PUT", name, headers={**bucket.sent_along.put, "If-Match": NO_ETAG})
        except S3Refused as refused:
            if refused.status in (404, 412):
                self._ok("write", f"{bucket.uri_of(prefix)}")
                return
            self._fail(
                "write",
                f"{refused}. Allow s3:PutObject on {bucket.uri_of(prefix)}*, which a pull needs, and a mark by "
                "metadata (and s3:GetObject, or this look is refused); a policy may demand encryption: extra_args",
            )
            return
        except SftpS3Error as failed:
            self._fail("write", failed)
            return
        with contextlib.suppress(StorageError):
            await bucket.requests.ask("DELETE", name)
        self._ok("write", "the store takes no notice of conditions: an empty object of our own was made and removed")

    async def _try_to_mark(self, bucket: Bucket, key: str | None, version: Version | None) -> None:
        if key is None or version is None:
            self._skip("mark", "there is no object under the prefix that it could be found out with")
            return
        marks = Marks(bucket, "auto", "test-connection")
        try:
            kind = await marks.kind_for(key, version, Look())
            self._ok("mark", f"a push can mark its objects by {kind}")
        except (ConfigurationError, StorageError) as failed:
            self._fail("mark", f"{failed}. A pull needs no marks")
        finally:
            marks.end()


def kind_of(conn_id: str) -> str:
    """Return the type of a connection, such as ``sftp`` or ``aws``. :raises ConfigurationError: there is none."""
    try:
        return str(BaseHook.get_connection(conn_id).conn_type)
    except AirflowException as missing:
        raise ConfigurationError(f"there is no connection {conn_id!r}: {missing}") from None
