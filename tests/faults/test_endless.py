"""What a server, a store or an expression could go on with for ever ends, and says what it was."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable

import asyncssh
import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError, ConnectionFailed, StorageError
from airflow_provider_sftp_s3.engine.options import KiB, MiB, TransferOptions
from airflow_provider_sftp_s3.engine.s3 import pages
from airflow_provider_sftp_s3.engine.s3.endpoint import Endpoint, Network
from airflow_provider_sftp_s3.engine.s3.requests import MAX_ANSWER, S3Refused, S3Requests
from airflow_provider_sftp_s3.engine.s3.upload import Uploads
from airflow_provider_sftp_s3.engine.sftp import entries
from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer as Target
from airflow_provider_sftp_s3.engine.sftp.connection import connect
from tests.faults.harness import PATIENT, bucket_of, put_objects, read_tree, run_pull, run_push, write_tree
from tests.support import faulty_sftp as faulty
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault

pytestmark = [pytest.mark.faults, pytest.mark.loops]

ESCAPE = "\x1b[2J"


def assert_is_short(*texts: str) -> None:
    """About 1 KB, and nothing that a terminal obeys."""
    for text in texts:
        assert len(text) < 2500
        assert text.isprintable()


# ---------------------------------------------------------------------------------------------------------- listings


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (faulty.ListingRepeats("/odd"), "the server gives its 4 names again and again"),
        (faulty.ListingNeverEnds("/odd"), "there are more than 5000 names in it"),
        (faulty.ListingNeverEnds("/odd", at_once=10, length=20 * KiB), "or more than 1 MiB of them"),
    ],
    ids=["repeats", "never ends", "long names"],
)
async def test_a_directory_without_end_fails_alone(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, fault: Fault, said: str
) -> None:
    """It is said what is wrong with it, and the files of the others are pulled."""
    monkeypatch.setattr(entries, "MAX_ENTRIES", 5000)
    monkeypatch.setattr(entries, "MAX_NAMES_BYTES", MiB)
    write_tree(sftp_server.root, {"a": b"a", "odd/b": b"b", "odd/c": b"c", "other/d": b"d"})
    sftp_server.fault = fault
    ran = await run_pull(sftp_server, s3, bucket)
    assert set(ran.failures) == {"odd"}
    assert "cannot be listed" in ran.failures["odd"]
    assert said in ran.failures["odd"]
    assert s3.objects(bucket) == {"a": b"a", "other/d": b"d"}
    assert sftp_server.open_handles == 0


async def test_a_directory_that_lists_all_its_names_twice_is_pulled(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """As some servers do: that is odd, and no loop."""
    names = [b"%03d" % number for number in range(200)]
    write_tree(sftp_server.root, {name.decode(): b"1234" for name in names})
    sftp_server.fault = faulty.ListingIsHostile([*names, *names])
    ran = await run_pull(sftp_server, s3, bucket)
    assert ran.done().transferred == 200


def page(keys: list[str], token: str) -> bytes:
    listed = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    return (
        f"<ListBucketResult><IsTruncated>true</IsTruncated>{listed}"
        f"<NextContinuationToken>{token}</NextContinuationToken></ListBucketResult>"
    ).encode()


@pytest.mark.parametrize(
    ("keys", "token"),
    [
        (lambda number: ["a", "b"], lambda number: "same"),
        (lambda number: ["a", "b"], lambda number: "odd" if number % 2 else "even"),
        (lambda number: ["a", "b"], lambda number: f"new {number}"),
        (lambda number: ["a", "b", "c"][number % 3 :], lambda number: f"new {number}"),
        (lambda number: [], lambda number: f"new {number}"),
    ],
    ids=["same token", "two tokens", "new tokens", "other pages", "empty pages"],
)
async def test_a_listing_of_s3_that_does_not_get_on_ends(
    s3: S3Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    keys: Callable[[int], list[str]],
    token: Callable[[int], str],
) -> None:
    """Whatever the store calls its next page."""
    monkeypatch.setattr(pages, "MAX_EMPTY_PAGES", 50)
    asked = 0

    def endless(request: S3Request, body: bytes) -> bytes:
        nonlocal asked
        if request.operation != "ListObjectsV2":
            return body
        asked += 1
        return page(keys(asked - 1), token(asked - 1))

    s3.rewrite(endless)
    async with bucket_of(s3, bucket, TransferOptions()) as place:
        with pytest.raises(ConnectionFailed, match="cannot be listed: S3 gives"):
            _ = [entry async for entry in place.list("")]
    assert asked <= 52


# ------------------------------------------------------------------------------------------------------------- texts


async def test_the_text_of_an_sftp_server_is_cut(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """In the report, as in the error that Airflow shows."""
    write_tree(sftp_server.root, {"a": b"a"})
    sftp_server.fault = faulty.RefusesAtLength()
    ran = await run_pull(sftp_server, s3, bucket)
    assert r"\x1b[2Jxxx" in ran.failures["a"]
    assert_is_short(ran.failures["a"], str(ran.error))


async def test_the_reason_of_a_disconnect_is_cut() -> None:
    """Of a server that takes the time to say why it does not want us."""

    class Rude(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            self.connection = conn

        def begin_auth(self, username: str) -> bool:
            self.connection.disconnect(asyncssh.DISC_BY_APPLICATION, ESCAPE + "x" * 30_000)
            return True

    key = asyncssh.generate_private_key("ssh-ed25519")
    async with await asyncssh.listen("127.0.0.1", 0, server_factory=Rude, server_host_keys=[key]) as server:
        target = Target(host="127.0.0.1", port=server.get_port(), username="u", password="p", verify_host_key=False)
        with pytest.raises(ConnectionFailed, match=r"\\x1b\[2Jxxx") as caught:
            await connect(target, 30, 1)
    assert_is_short(str(caught.value))


@contextlib.asynccontextmanager
async def rude_s3(status: str, body: bytes, times: int | None) -> AsyncIterator[tuple[str, list[int]]]:
    """A store that answers everything with `body`, so many times over; None: for ever. Tells how many bytes it sent."""
    sent: list[int] = []

    open_now: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now[task] = writer
        # RuntimeError is uvloop's word for a connection that is closed.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, RuntimeError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if length := re.search(rb"(?i)content-length: (\d+)", head):
                    await reader.readexactly(int(length[1]))
                length_of_it = f"Content-Length: {len(body) * times}\r\n" if times is not None else ""
                writer.write(f"HTTP/1.1 {status}\r\n{length_of_it}\r\n".encode())
                sent.append(0)
                while times is None or sent[-1] < len(body) * times:
                    writer.write(body)
                    sent[-1] += len(body)
                    await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", sent
    finally:
        server.close()
        for writer in open_now.values():
            writer.transport.abort()
        await asyncio.gather(*open_now)


def requests_to(url: str, s3: S3Server) -> S3Requests:
    return S3Requests(
        "bucket", Endpoint(f"{url}/bucket", "eu-central-1"), s3.session(), TransferOptions(idle_timeout=5), Network()
    )


async def test_an_error_of_s3_without_end_is_not_read(s3: S3Server) -> None:
    """Its beginning is, and where that is no XML, the status is what is said."""
    async with rude_s3("403 Forbidden", b"x" * 64 * KiB, None) as (url, sent):
        requests = requests_to(url, s3)
        with pytest.raises(S3Refused, match="S3 answered 403") as refused:
            await requests.ask("GET", "key")
        await requests.close()
    assert_is_short(str(refused.value))
    assert sum(sent) < 32 * MiB  # what the sockets hold


async def test_an_answer_of_s3_without_end_is_not_read(s3: S3Server) -> None:
    async with rude_s3("200 OK", b"x" * 64 * KiB, None) as (url, sent):
        requests = requests_to(url, s3)
        with pytest.raises(StorageError, match=f"longer than {MAX_ANSWER} bytes"):
            await requests.ask("GET", "key")
        await requests.close()
    assert sum(sent) < MAX_ANSWER + 32 * MiB


@pytest.mark.parametrize("client", ["aiohttp", "obstore"])
async def test_the_text_of_an_error_of_s3_is_cut(s3: S3Server, client: str) -> None:
    """Whichever client it has come by."""
    body = f"<Error><Code>Odd</Code><Message>&#27;[2J{'x' * 60_000}</Message></Error>".replace("&#27;", "")
    async with rude_s3("409 Conflict", body.encode(), 1) as (url, _):
        place = bucket_of(s3, "bucket", TransferOptions(**PATIENT))
        place.requests = requests_to(url, s3)
        assert isinstance(place.uploads, Uploads)
        place.uploads._store = type(place.uploads._store)(
            "bucket",
            endpoint=url,
            region="eu-central-1",
            access_key_id="a",
            secret_access_key="b",
            client_options={"allow_http": True},
        )
        async with place:
            with pytest.raises(StorageError, match="Odd") as refused:
                await place.put("key", [b"x" * (1 if client == "aiohttp" else 100_000)], {})
    assert_is_short(str(refused.value))


async def test_no_request_goes_out_after_the_end(s3: S3Server, bucket: str) -> None:
    """Nobody would close its connection."""
    async with bucket_of(s3, bucket, TransferOptions()) as place:
        await place.check()
    with pytest.raises(StorageError, match="after the connections to S3 were closed"):
        await place.requests.ask("GET", "key")
    with pytest.raises(StorageError, match="after the connections to S3 were closed"):
        await place.get("key")
    assert place.requests._http is None


# ------------------------------------------------------------------------------------------------------- expressions


async def test_a_strip_regex_without_end_ends_the_run(sftp_server: AsyncsshServer, s3: S3Server, bucket: str) -> None:
    """With the expression, as a setting to change; what was pushed before is reported, and no process is left."""
    put_objects(s3, bucket, {"a" * 60 + "b": b"never"})
    ran = await run_push(sftp_server, s3, bucket, strip_regex="^(a+)+$", idle_timeout=2.0)
    assert isinstance(ran.error, ConfigurationError)
    assert "strip_regex '^(a+)+$' takes longer than idle_timeout, 2 s" in str(ran.error)
    assert ran.error.report is not None
    assert read_tree(sftp_server.root) == {}


async def test_a_strip_regex_that_might_take_long_strips_as_any_other(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str
) -> None:
    """In a process of its own."""
    put_objects(s3, bucket, {f"in/2024/{number}": b"x" for number in range(20)})
    ran = await run_push(sftp_server, s3, bucket, strip_regex="^(?:[^/]+/){2}")
    assert ran.done().transferred == 20
    assert set(read_tree(sftp_server.root)) == {str(number) for number in range(20)}
