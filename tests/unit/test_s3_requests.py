"""Requests to S3: sent again while that may help, never longer than idle_timeout, and never half an answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sftp_s3.engine.errors import CredentialsExpired, PlaceMissing, StorageError
from airflow_provider_sftp_s3.engine.options import TransferOptions
from airflow_provider_sftp_s3.engine.s3 import requests
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.requests import Answer, S3Refused, query_of
from airflow_provider_sftp_s3.engine.standstill import Awake
from tests.support.s3_server import S3Endpoint, S3Request, S3Server


@pytest.mark.unit
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(max_size=20), max_size=5))
def test_a_query_comes_back_as_it_was(fields: dict[str, str]) -> None:
    """Sorted, and with nothing plain in it that S3 would have encoded for the signature."""
    fields = {name: value.encode("utf-8", "ignore").decode() for name, value in fields.items()}
    query = query_of(fields)
    assert dict(urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))) == fields
    assert set(query) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%=&")
    assert query_of({"prefix": "a", "list-type": "2"}) == "list-type=2&prefix=a"


@pytest.mark.unit
@pytest.mark.parametrize(
    ("status", "code", "passes"),
    [
        *((status, "", True) for status in (429, 500, 502, 503, 504)),
        *((status, "", False) for status in (301, 400, 403, 404, 412, 501)),
        (400, "RequestTimeout", True),
        (403, "SlowDown", True),
        (403, "AccessDenied", False),
    ],
)
def test_what_may_be_better_in_a_moment(status: int, code: str, passes: bool) -> None:
    """By its status or by S3's word for it."""
    assert S3Refused("refused", status, code, "").passes == passes


@pytest.mark.unit
def test_an_answer_that_is_something_else_names_what_was_asked() -> None:
    """A proxy's page in HTML, say."""
    with pytest.raises(StorageError, match="s3://b/k: "):
        Answer("s3://b/k", {}, b"<html>").element("Tagging")
    assert Answer("s3://b/k", {}, b"<Tagging/>").element("Tagging").tag == "Tagging"


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are sent again at once."""
    monkeypatch.setattr(requests, "PAUSE", 0.01)


@pytest.mark.integration
@pytest.mark.usefixtures("no_pauses")
async def test_what_passes_is_waited_for(s3: S3Server, opened: Bucket) -> None:
    """Two refusals and a connection that is cut: the fourth try is answered."""
    trouble: list[tuple[int, str] | None] = [(503, "SlowDown"), None, (500, "InternalError")]

    @s3.before
    def troubled(request: S3Request) -> tuple[int, str] | None:
        if not trouble:
            return None
        fault = trouble.pop()
        if fault is None:
            raise ConnectionError
        return fault

    s3.requests.clear()
    await opened.requests.ask("PUT", "a", body=b"x")
    assert [request.operation for request in s3.requests] == ["PutObject"] * 4
    assert s3.objects(opened.name) == {"a": b"x"}


@pytest.mark.integration
@pytest.mark.usefixtures("no_pauses")
async def test_patience_has_an_end(s3: S3Server, opened: Bucket) -> None:
    """After idle_timeout what S3 said last is the error."""
    opened.requests.patience = 0.3
    s3.before(lambda request: (503, "SlowDown"))
    with pytest.raises(S3Refused, match="503 SlowDown") as refused:
        await opened.requests.ask("PUT", "a", body=b"x")
    assert (refused.value.status, refused.value.code) == (503, "SlowDown")


@pytest.mark.integration
async def test_what_will_not_pass_is_asked_once(s3: S3Server, opened: Bucket) -> None:
    """A refusal is the answer, with S3's word and its text."""
    s3.before(lambda request: (403, "AccessDenied"))
    s3.requests.clear()
    with pytest.raises(S3Refused, match="403 AccessDenied"):
        await opened.requests.ask("PUT", "a", body=b"x")
    assert len(s3.requests) == 1
    s3.before(lambda request: (404, "NoSuchBucket"))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("answer", "method", "kind"),
    [
        ((404, "NoSuchBucket"), "GET", PlaceMissing),
        ((400, "ExpiredToken"), "GET", CredentialsExpired),
        ((400, "BadRequest"), "HEAD", CredentialsExpired),  # an answer to a HEAD has no word for it
        ((400, "BadRequest"), "GET", S3Refused),
    ],
)
async def test_what_it_means_for_the_run(
    s3: S3Server, opened: Bucket, answer: tuple[int, str], method: str, kind: type[Exception]
) -> None:
    """A bucket that is missing concerns all files, credentials that have expired may be renewed."""
    s3.before(lambda request: answer)
    with pytest.raises((PlaceMissing, StorageError)) as refused:
        await opened.requests.ask(method, "a")
    assert type(refused.value) is kind


@pytest.mark.integration
async def test_expired_credentials_are_tried_once_more(s3: S3Server, opened: Bucket) -> None:
    """Signed anew: the session may have renewed them meanwhile."""
    answers = [(400, "ExpiredToken")]
    s3.before(lambda request: answers.pop() if answers else None)
    s3.requests.clear()
    await opened.requests.ask("PUT", "a", body=b"x")
    assert len(s3.requests) == 2


@pytest.mark.integration
async def test_an_error_in_an_answer_of_200_is_an_error(s3: S3Server, opened: Bucket) -> None:
    """CopyObject and CompleteMultipartUpload begin to answer before they know how they end."""
    s3.client().put_object(Bucket=opened.name, Key="a", Body=b"x")
    broken = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>'
    s3.rewrite(lambda request, body: broken if request.operation == "CopyObject" else body)
    with pytest.raises(S3Refused, match="AccessDenied"):
        await opened.requests.ask("PUT", "b", headers={"x-amz-copy-source": f"{opened.name}/a"})


@pytest.mark.integration
@pytest.mark.usefixtures("no_pauses")
async def test_a_body_that_is_cut_off_goes_on_where_it_was(s3: S3Server, opened: Bucket) -> None:
    """By a Range, on the condition that it is the same version; all bytes come once and in order."""
    content = b"".join(b"%07d" % number for number in range(300_000))
    s3.client().put_object(Bucket=opened.name, Key="a", Body=content)
    s3.requests.clear()
    contents = await opened.requests.open("a")
    read = b""
    async for chunk in contents.chunks():
        read += chunk
        if len(s3.requests) < 3:
            contents.close()  # as a line that is cut
    assert read == content
    first, *again = (request.headers for request in s3.requests)
    assert "range" not in first
    assert again
    assert all(headers["if-match"] == contents.headers["ETag"] for headers in again)


@pytest.mark.integration
async def test_who_asks_after_the_end_is_told_so(s3: S3Server, opened: Bucket) -> None:
    """However often it was closed: no connection is opened that nobody would close, and no task is left."""
    await opened.requests.ask("PUT", "a", body=b"x")
    for _ in range(2):
        await opened.requests.close()
    s3.requests.clear()
    with pytest.raises(StorageError, match="after the connections to S3 were closed"):
        await opened.requests.ask("PUT", "a", body=b"y")
    assert s3.requests == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.integration
@pytest.mark.usefixtures("no_pauses")
async def test_while_this_process_stood_still_s3_was_not_silent(s3: S3Server, opened: Bucket) -> None:
    """What it is asked then has all its time anew; what goes wrong without that has none."""
    opened.requests.patience = 0.5
    opened.requests.awake = Awake(0.5)
    await opened.requests.ask("PUT", "a", body=b"x")
    stood_still = 0

    async def cut() -> str:
        nonlocal stood_still
        if stood_still < 3:
            stood_still += 1
            time.sleep(0.6)  # noqa: ASYNC251 - nothing goes on
            raise TimeoutError
        return "answered"

    assert await opened.requests._retrying("a", cut) == "answered"

    async def silent() -> str:
        await asyncio.sleep(0.6)
        raise TimeoutError

    began = time.monotonic()
    with pytest.raises(StorageError, match=f"s3://{opened.name}/a"):
        await opened.requests._retrying("a", silent)
    assert time.monotonic() - began < 30


@pytest.mark.integration
async def test_the_time_is_what_s3_says(opened: Bucket) -> None:
    """None before it has answered anything."""
    assert opened.requests.clock is None
    await opened.requests.ask("PUT", "a", body=b"x")
    assert opened.requests.clock is not None
    assert opened.requests.clock.is_right


@pytest.mark.integration
async def test_an_answer_to_head_with_the_end_of_a_body_is_asked_for_by_get() -> None:
    """As Swift's server has it where there is no object: the client cannot read it, and the object is not there."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                asked.append(head.split()[0])
                body = b"0\r\n\r\n" if asked[-1] == b"HEAD" else b"8\r\n<Error/>\r\n0\r\n\r\n"
                writer.write(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        writer.close()

    s3 = S3Endpoint()
    async with await asyncio.start_server(answer, s3.host) as server:
        s3.port = server.sockets[0].getsockname()[1]
        session = s3.session()
        async with Bucket("bucket", s3.client(session), session, TransferOptions()) as bucket:
            for _ in range(2):
                assert await bucket.head("k") is None
    assert asked == [b"HEAD", b"GET"] * 2
