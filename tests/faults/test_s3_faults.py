"""S3 misbehaves, or somebody changes an object while it is pushed: nothing is lost, and no mark lies."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import asyncssh
import pytest

from airflow_provider_sftp_s3.engine.errors import AuthenticationFailed, ConfigurationError, SftpS3Error, TransferError
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from airflow_provider_sftp_s3.engine.paths import STATE
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.ledger import Ledger
from airflow_provider_sftp_s3.engine.s3.names import SYNCED, TAG
from airflow_provider_sftp_s3.engine.settings import PushSettings
from airflow_provider_sftp_s3.engine.unsynced import unsynced
from tests.faults import table
from tests.faults.harness import (
    PATIENT,
    Acts,
    Ran,
    bucket_of,
    check_nothing_open,
    check_pull,
    check_push,
    leftovers,
    marked_keys,
    put_objects,
    read_tree,
    run_pull,
    run_push,
    write_tree,
)
from tests.support.account import Rotation
from tests.support.faulty_sftp import RENAMES
from tests.support.s3_server import S3Request, S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault, Proceed, Request

pytestmark = [pytest.mark.faults, pytest.mark.loops]

VICTIM = "sub/victim"
FILES = {
    "a": b"first",
    "empty": b"",
    "large": os.urandom(11 * MiB),
    VICTIM: os.urandom(70_000),
    "sub/sibling": b"sibling",
}
EVERY = set(FILES)
MODES = ("metadata", "tag")
IDLE = 2.0
SLACK = 20.0
"""What a run may take beyond its limits, which is less than any limit that is not to count."""


def ledger_of(place: Bucket) -> Ledger:
    """Return the ledger of a bucket."""
    return Ledger(place, "")


def fails(
    s3: S3Server,
    answer: tuple[int, str] | None,
    *,
    operation: str | None = None,
    key: str | None = None,
    times: int | None = None,
    probes: bool = True,
) -> list[S3Request]:
    """
    Have requests fail, with an answer or a cut connection; return the list that they are noted in.

    :param probes: those, too, that find out which kind of mark is safe.
    """
    failed: list[S3Request] = []
    one_at_a_time = threading.Lock()

    @s3.before
    def hook(request: S3Request) -> tuple[int, str] | None:
        if operation not in (None, request.operation) or key not in (None, request.key):
            return None
        if request.operation == "ListObjectsV2" and operation is None:
            return None
        if not probes and STATE in request.key:
            return None
        with one_at_a_time:
            if times is not None and len(failed) >= times:
                return None
            failed.append(request)
        if answer is None:
            raise ConnectionResetError
        return answer

    return failed


class TestTrouble:
    """S3 fails now and then, or for good."""

    @pytest.mark.parametrize("answer", [(503, "SlowDown"), (500, "InternalError"), None], ids=["503", "500", "cut"])
    @pytest.mark.parametrize(
        "operation",
        ["PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "ListObjectsV2"],
    )
    async def test_a_pull_outlasts_trouble(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, operation: str, answer: tuple[int, str] | None
    ) -> None:
        """Two requests of a kind fail, the third one works: the run succeeds, and no upload is left over."""
        write_tree(sftp_server.root, FILES)
        failed = fails(s3, answer, operation=operation, times=2)
        ran = await run_pull(sftp_server, s3, bucket)
        assert len(failed) == 2
        ran.done()
        assert check_pull(sftp_server.root, s3, bucket, FILES, ran) == EVERY
        assert s3.unfinished_uploads(bucket) == [] or answer is None

    @pytest.mark.parametrize("mark", MODES)
    @pytest.mark.parametrize("answer", [(503, "SlowDown"), (500, "InternalError"), None], ids=["503", "500", "cut"])
    @pytest.mark.parametrize("operation", ["GetObject", "ListObjectsV2", "mark"])
    async def test_a_push_outlasts_trouble(
        self,
        sftp_server: AsyncsshServer,
        s3: S3Server,
        bucket: str,
        operation: str,
        answer: tuple[int, str] | None,
        mark: str,
    ) -> None:
        """Two requests of a kind fail, the third one works: the run succeeds, every object is marked."""
        put_objects(s3, bucket, FILES)
        marking = {"metadata": "CopyObject", "tag": "PutObjectTagging"}[mark]
        failed = fails(s3, answer, operation=marking if operation == "mark" else operation, times=2)
        ran = await run_push(sftp_server, s3, bucket, mark=mark)
        assert len(failed) == 2
        ran.done()
        assert check_push(sftp_server.root, bucket, FILES, ran) == EVERY
        assert marked_keys(bucket) == EVERY

    @pytest.mark.parametrize(
        "answer", [(503, "SlowDown"), (500, "InternalError"), (403, "AccessDenied"), None], ids=str
    )
    @pytest.mark.parametrize("key", [VICTIM, "large"])
    async def test_a_pull_of_one_key_fails_for_good(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, key: str, answer: tuple[int, str] | None
    ) -> None:
        """The file stays where it is and is named; all others are moved; no wait beyond the limits; mended later."""
        write_tree(sftp_server.root, FILES)
        fails(s3, answer, key=key)
        ran = await run_pull(sftp_server, s3, bucket, idle_timeout=IDLE)
        assert isinstance(ran.error, TransferError)
        assert check_pull(sftp_server.root, s3, bucket, FILES, ran) == EVERY - {key}
        assert set(ran.failures) == {key.rpartition("/")[2]}
        # One request is tried again for idle_timeout, and the abort of the upload likewise.
        assert ran.seconds < 2 * IDLE + SLACK
        s3._before.clear()
        again = await run_pull(sftp_server, s3, bucket)
        again.done()
        assert check_pull(sftp_server.root, s3, bucket, FILES, again) == EVERY
        await check_nothing_open(sftp_server)

    @pytest.mark.parametrize(
        ("mark", "operation"),
        [
            *(("metadata", "GetObject"), ("metadata", "CopyObject")),
            *(("tag", "GetObject"), ("tag", "GetObjectTagging"), ("tag", "PutObjectTagging")),
        ],
    )
    @pytest.mark.parametrize("answer", [(500, "InternalError"), (403, "AccessDenied"), None], ids=str)
    async def test_a_push_of_one_key_fails_for_good(
        self,
        sftp_server: AsyncsshServer,
        s3: S3Server,
        bucket: str,
        operation: str,
        answer: tuple[int, str] | None,
        mark: str,
    ) -> None:
        """
        It is named and not marked; all others are pushed and marked; mended later.

        One after the other: S3 has taken other marks before it refuses this one.
        """
        put_objects(s3, bucket, FILES)
        fails(s3, answer, operation=operation, key=VICTIM)
        ran = await run_push(sftp_server, s3, bucket, idle_timeout=IDLE, mark=mark, concurrency=1)
        assert isinstance(ran.error, TransferError)
        assert check_push(sftp_server.root, bucket, FILES, ran) >= EVERY - {VICTIM}
        assert marked_keys(bucket) == EVERY - {VICTIM}
        assert set(ran.failures) == {"victim"}
        s3._before.clear()
        again = await run_push(sftp_server, s3, bucket, mark=mark)
        again.done()
        assert check_push(sftp_server.root, bucket, FILES, again) == EVERY
        assert marked_keys(bucket) == EVERY

    async def test_a_request_is_done_and_its_answer_lost(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
    ) -> None:
        """500 or a cut after the change was applied, once to each operation: both directions get over it."""
        seen: set[str] = set()

        @s3.after
        def lose(request: S3Request) -> tuple[int, str] | None:
            if request.operation in seen or request.operation.startswith("List"):
                return None
            seen.add(request.operation)
            if len(seen) % 2:
                raise ConnectionResetError
            return 500, "InternalError"

        write_tree(sftp_server.root, FILES)
        ran = await run_pull(sftp_server, s3, bucket)
        check_pull(sftp_server.root, s3, bucket, FILES, ran)
        again = await run_pull(sftp_server, s3, bucket)
        again.done()
        assert check_pull(sftp_server.root, s3, bucket, FILES, again) == EVERY
        out = sftp_server.root / "out"
        out.mkdir()
        put_objects(s3, bucket, FILES)  # without marks
        ran = await run_push(sftp_server, s3, bucket, "/out")
        ran = await run_push(sftp_server, s3, bucket, "/out")
        ran.done()
        assert read_tree(out) == FILES
        assert marked_keys(bucket) == EVERY
        assert {"PutObject", "UploadPart", "CompleteMultipartUpload", "CopyObject", "GetObject"} <= seen

    async def test_the_connection_breaks_in_the_middle_of_a_body(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
    ) -> None:
        """Half an object and then nothing: never published as a whole, pushed by the next try or run."""
        put_objects(s3, bucket, FILES)
        write_tree(sftp_server.root, {"large": b"the old one"})
        answer, cuts = s3._answer, 0

        def halved(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            nonlocal cuts
            body = answer(environ, start_response)
            if environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].endswith("/large"):
                cuts += 1
                whole = b"".join(body)
                return [whole[: len(whole) // 2]]  # the Content-Length says twice as much
            return body

        s3.stop()
        s3._answer = halved  # type: ignore[method-assign]
        s3.start()
        try:
            ran = await run_push(sftp_server, s3, bucket, idle_timeout=IDLE)
        finally:
            s3.stop()
            s3._answer = answer  # type: ignore[method-assign]
            s3.start()
        assert cuts > 0
        assert check_push(sftp_server.root, bucket, FILES, ran, old={"large": b"the old one"}) == EVERY - {"large"}
        assert set(ran.failures) == {"large"}
        assert marked_keys(bucket) == EVERY - {"large"}
        again = await run_push(sftp_server, s3, bucket)
        again.done()
        assert check_push(sftp_server.root, bucket, FILES, again) == EVERY

    @pytest.mark.parametrize("times", [2, None], ids=["twice", "always"])
    async def test_the_connection_breaks_in_the_middle_of_a_part(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, times: int | None
    ) -> None:
        """S3 hangs up after half a part: sent again; where that goes on, the file stays where it is, and is named."""
        write_tree(sftp_server.root, FILES)
        answer, cuts = s3._answer, 0

        def halved(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            nonlocal cuts
            if "partNumber=" in environ.get("QUERY_STRING", "") and (times is None or cuts < times):
                cuts += 1
                environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]) // 2)
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                raise ConnectionResetError
            return answer(environ, start_response)

        s3.stop()
        monkeypatch.setattr(s3, "_answer", halved)
        s3.start()
        try:
            ran = await run_pull(sftp_server, s3, bucket, idle_timeout=IDLE if times is None else 20.0)
        finally:
            s3.stop()
            monkeypatch.undo()
            s3.start()
        assert cuts >= 2
        moved = EVERY if times else EVERY - {"large"}
        assert check_pull(sftp_server.root, s3, bucket, FILES, ran) == moved
        assert set(ran.failures) == EVERY - moved
        assert s3.unfinished_uploads(bucket) == []
        again = await run_pull(sftp_server, s3, bucket)
        again.done()
        assert check_pull(sftp_server.root, s3, bucket, FILES, again) == EVERY

    @pytest.mark.parametrize("pulls", [True, False], ids=["pull", "push"])
    async def test_slow_answers_are_waited_for(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, pulls: bool
    ) -> None:
        """Every answer takes a while, each less than ``idle_timeout``, all together more: the run succeeds."""

        def slow(request: S3Request) -> None:
            time.sleep(0.4)

        if pulls:
            write_tree(sftp_server.root, FILES)
            s3.before(slow)
            ran = await run_pull(sftp_server, s3, bucket, idle_timeout=IDLE, concurrency=1)
            assert check_pull(sftp_server.root, s3, bucket, FILES, ran) == EVERY
        else:
            put_objects(s3, bucket, FILES)
            s3.before(slow)
            ran = await run_push(sftp_server, s3, bucket, idle_timeout=IDLE, concurrency=1)
            assert check_push(sftp_server.root, bucket, FILES, ran) == EVERY
        ran.done()
        assert ran.seconds > IDLE, "this test wants to outlast idle_timeout"

    @pytest.mark.parametrize("pulls", [True, False], ids=["pull", "push"])
    async def test_an_answer_that_never_comes_ends_in_time(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, pulls: bool
    ) -> None:
        """S3 hangs on one key: it fails in time, the others go on."""
        released = threading.Event()

        @s3.before
        def hangs(request: S3Request) -> None:
            if request.key == VICTIM and request.method in ("GET", "PUT") and not released.is_set():
                released.wait(30)
                raise ConnectionResetError

        try:
            if pulls:
                write_tree(sftp_server.root, FILES)
                ran = await run_pull(sftp_server, s3, bucket, idle_timeout=IDLE)
                assert check_pull(sftp_server.root, s3, bucket, FILES, ran) == EVERY - {VICTIM}
            else:
                client_files = {key: data for key, data in FILES.items() if key != VICTIM}
                put_objects(s3, bucket, client_files)
                released.set()
                put_objects(s3, bucket, {VICTIM: FILES[VICTIM]})
                released.clear()
                ran = await run_push(sftp_server, s3, bucket, idle_timeout=IDLE)
                assert check_push(sftp_server.root, bucket, FILES, ran) == EVERY - {VICTIM}
            assert set(ran.failures) == {"victim"}
            # The first try may begin just before the time for tries is over: one more read timeout.
            assert ran.seconds < 2 * IDLE + SLACK
        finally:
            released.set()

    @pytest.mark.parametrize("pulls", [True, False], ids=["pull", "push"])
    async def test_a_bucket_that_vanishes(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, pulls: bool
    ) -> None:
        """Gone after the first look: an error that names the bucket and is not retried; every file is where it was."""
        write_tree(sftp_server.root, FILES if pulls else {})

        @s3.before
        def vanished(request: S3Request) -> tuple[int, str] | None:
            return None if request.operation == "ListObjectsV2" else (404, "NoSuchBucket")

        if pulls:
            ran = await run_pull(sftp_server, s3, bucket)
            assert read_tree(sftp_server.root) == FILES
        else:
            put_objects_behind = {"a": b"x"}
            s3._before.clear()
            put_objects(s3, bucket, put_objects_behind)
            s3.before(vanished)
            ran = await run_push(sftp_server, s3, bucket)
            assert read_tree(sftp_server.root) == {}
        assert isinstance(ran.error, ConfigurationError)
        assert bucket in str(ran.error)
        await check_nothing_open(sftp_server)

    async def test_a_multipart_upload_of_a_file_that_changes_is_aborted(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
    ) -> None:
        """A file that grows between two parts: the upload is aborted, not left over, and S3 has nothing of it."""
        write_tree(sftp_server.root, {"large": FILES["large"]})
        place = sftp_server.root / "large"

        def grow(*_: object) -> None:
            with place.open("ab") as file:
                file.write(b"more")

        sftp_server.fault = Acts(grow, ("READ",), nth=2)
        ran = await run_pull(sftp_server, s3, bucket)
        assert "changed while reading" in ran.failures["large"]
        assert s3.counts()["POST", "CreateMultipartUpload"] == 1
        assert s3.unfinished_uploads(bucket) == []
        assert s3.objects(bucket) == {}
        assert read_tree(sftp_server.root) == {"large": FILES["large"] + b"more"}


#: What is not taken of a mark, by its mode, and what the error names.
REFUSALS = [
    ("metadata", "CopyObject", (403, "AccessDenied"), "s3:PutObject"),
    ("metadata", "CopyObject", (403, "AccessDenied"), "kms:GenerateDataKey"),
    ("metadata", "CopyObject", (403, "AccessDenied"), "mark='tag'"),
    ("metadata", "CopyObject", (400, "InvalidRequest"), "mark='none'"),
    ("metadata", "CopyObject", (405, "MethodNotAllowed"), "mark='none'"),
    ("metadata", "CopyObject", (501, "NotImplemented"), "mark='tag'"),
    ("tag", "GetObjectTagging", (403, "AccessDenied"), "s3:GetObjectTagging"),
    ("tag", "PutObjectTagging", (403, "AccessDenied"), "s3:PutObjectTagging"),
    ("tag", "PutObjectTagging", (501, "NotImplemented"), "mark='metadata'"),
]


class TestRefusedMarks:
    """S3 takes no marks: what was delivered would be delivered by each run and retry again."""

    @pytest.mark.parametrize(("mark", "operation", "answer", "named"), REFUSALS)
    async def test_the_run_ends_before_the_first_file_with_what_to_change(
        self,
        sftp_server: AsyncsshServer,
        s3: S3Server,
        bucket: str,
        mark: str,
        operation: str,
        answer: tuple[int, str],
        named: str,
    ) -> None:
        """S3 says so to a probe already: nothing is delivered or left over; mended later."""
        put_objects(s3, bucket, FILES)
        fails(s3, answer, operation=operation)
        ran = await run_push(sftp_server, s3, bucket, mark=mark)
        assert isinstance(ran.error, ConfigurationError)
        assert named in str(ran.error)
        assert answer[1] in str(ran.error)
        assert read_tree(sftp_server.root) == {}
        assert ran.report is not None
        assert (ran.report.transferred, ran.report.failed) == (0, 0)
        assert s3.objects(bucket) == FILES
        s3._before.clear()
        again = await run_push(sftp_server, s3, bucket, mark=mark)
        again.done()
        assert check_push(sftp_server.root, bucket, FILES, again) == EVERY
        await check_nothing_open(sftp_server)

    @pytest.mark.parametrize(
        ("mark", "operation", "answer", "named"), [row for row in REFUSALS if row[1] != "GetObjectTagging"]
    )
    async def test_the_run_ends_with_what_to_change(
        self,
        sftp_server: AsyncsshServer,
        s3: S3Server,
        bucket: str,
        mark: str,
        operation: str,
        answer: tuple[int, str],
        named: str,
    ) -> None:
        """
        After one file, which the report names; nothing else is delivered or left over; mended later.

        The probes have seen nothing of it: the objects' encryption key, say, is another thing to be allowed.
        """
        put_objects(s3, bucket, FILES)
        fails(s3, answer, operation=operation, probes=False)
        ran = await run_push(sftp_server, s3, bucket, mark=mark)
        assert isinstance(ran.error, ConfigurationError)
        assert named in str(ran.error)
        assert answer[1] in str(ran.error)
        assert len(read_tree(sftp_server.root)) == 1
        assert ran.report is not None
        assert (ran.report.transferred, ran.report.failed) == (0, 1)
        assert check_push(sftp_server.root, bucket, FILES, ran) == _delivered(ran, bucket)
        assert marked_keys(bucket) == set()
        s3._before.clear()
        again = await run_push(sftp_server, s3, bucket, mark=mark)
        again.done()
        assert check_push(sftp_server.root, bucket, FILES, again) == EVERY
        assert marked_keys(bucket) == EVERY
        await check_nothing_open(sftp_server)

    async def test_where_the_first_file_says_nothing_of_marks_all_that_were_delivered_are_named(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
    ) -> None:
        """The first one to get its name is refused by the server, the others are marked at once, and all refused."""
        put_objects(s3, bucket, FILES)
        marks_at_once = threading.Barrier(len(FILES) - 1, timeout=30)
        first = ""

        @s3.before
        def refused(request: S3Request) -> tuple[int, str] | None:
            if request.operation != "CopyObject" or STATE in request.key:
                return None
            marks_at_once.wait()
            return 403, "AccessDenied"

        class FirstRenameFails(Fault):
            async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
                nonlocal first
                if request.name in RENAMES:
                    first = first or request.target
                    if request.target == first:
                        raise asyncssh.SFTPPermissionDenied("not this one")
                return await proceed()

        sftp_server.fault = FirstRenameFails()
        ran = await run_push(sftp_server, s3, bucket)
        assert isinstance(ran.error, ConfigurationError)
        written = check_push(sftp_server.root, bucket, FILES, ran)
        assert len(written) == len(FILES) - 1
        assert _delivered(ran, bucket) == written

    @pytest.mark.parametrize("mark", MODES)
    async def test_marks_that_fail_for_a_reason_that_passes_hold_nobody_up(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, mark: str
    ) -> None:
        """Each is tried for ``idle_timeout``, all at once; all files are delivered, and fail as files do."""
        files = {f"{number:02}": b"x" for number in range(12)}
        put_objects(s3, bucket, files)
        operation = {"metadata": "CopyObject", "tag": "PutObjectTagging"}[mark]
        fails(s3, (500, "InternalError"), operation=operation, probes=False)
        ran = await run_push(sftp_server, s3, bucket, mark=mark, idle_timeout=IDLE)
        assert isinstance(ran.error, TransferError)
        assert check_push(sftp_server.root, bucket, files, ran) == set(files)
        assert set(ran.failures) == set(files)
        assert ran.seconds < 2 * IDLE + SLACK

    async def test_a_refusal_that_is_about_the_object_is_that_objects_failure(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
    ) -> None:
        """Its user's metadata leave no room for a mark, and it is the very first one."""
        put_objects(s3, bucket, FILES)
        fails(s3, (400, "MetadataTooLarge"), operation="CopyObject", key="a")
        ran = await run_push(sftp_server, s3, bucket, concurrency=1)
        assert isinstance(ran.error, TransferError)
        assert set(ran.failures) == {"a"}
        assert marked_keys(bucket) == EVERY - {"a"}


def _delivered(ran: Ran, bucket: str) -> set[str]:
    """Return the keys that a report calls delivered and not marked."""
    failed = [outcome for outcome in ran.outcomes if outcome.status == "failed"]
    return {each.source.removeprefix(f"s3://{bucket}/") for each in failed if "was delivered to" in each.reason}


class TestTags:
    """What S3 answers about an object's tags; what it does not is not made up."""

    @pytest.mark.parametrize(
        "written",
        [
            lambda xml: xml,
            lambda xml: xml.replace("<Value/>", "<Value></Value>"),
            lambda xml: xml.replace("<Value/>", "<Value />").replace("><", ">\n  <"),
            lambda xml: re.sub("(<Key>[^<]*</Key>)(<Value>[^<]*</Value>|<Value/>)", r"\2\1", xml),
            lambda xml: re.sub("<(/?)([A-Z])", r"<\1s3:\2", xml).replace("xmlns=", "xmlns:s3="),
        ],
        ids=["<Value/>", "<Value></Value>", "spaced", "turned round", "prefixed"],
    )
    async def test_a_mark_keeps_them_however_they_are_written(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, written: Callable[[str], str]
    ) -> None:
        tags = {"empty": "", "team": "blue", "at": "a+b=c:d@e"}
        _put_tagged(s3, bucket, tags)

        @s3.rewrite
        def rewrite(request: S3Request, body: bytes) -> bytes:
            return written(body.decode()).encode() if request.operation == "GetObjectTagging" else body

        ran = await run_push(sftp_server, s3, bucket, mark="tag")
        assert ran.done().transferred == 1
        s3._rewriting.clear()
        kept = _tags_of(s3, bucket)
        assert kept.pop(TAG)
        assert kept == tags

    @pytest.mark.parametrize(
        "answer",
        [
            *(b"", b"<html/>", b"<Tagging><TagSet><Tag><Key>team</Key>", b"\xff", b"<ListBucketResult/>"),
            *(b"<Tagging><TagSet/></Tagging>", b"<Tagging><TagSet><Tag><Key>team</Key></Tag></TagSet></Tagging>"),
        ],
    )
    async def test_an_answer_that_does_not_show_them_overwrites_none(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, answer: bytes
    ) -> None:
        """The object fails, and says why; its tags are what they were. The last answers show none, and it has two."""
        tags = {"team": "blue", "cost": "1"}
        _put_tagged(s3, bucket, tags)

        @s3.rewrite
        def rewrite(request: S3Request, body: bytes) -> bytes:
            return answer if request.operation == "GetObjectTagging" else body

        ran = await run_push(sftp_server, s3, bucket, mark="tag")
        assert isinstance(ran.error, TransferError)
        assert f"s3://{bucket}/k" in ran.failures["k"]
        s3._rewriting.clear()
        assert _tags_of(s3, bucket) == tags


def _put_tagged(s3: S3Server, bucket: str, tags: dict[str, str]) -> None:
    client = s3.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging=urlencode(tags))
    client.close()


def _tags_of(s3: S3Server, bucket: str) -> dict[str, str]:
    client = s3.client()
    answer = client.get_object_tagging(Bucket=bucket, Key="k")
    client.close()
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


class TestExpiredCredentials:
    """Credentials that run out while a run is under way."""

    @pytest.mark.parametrize("after", [1, 2, 4, 7])
    @pytest.mark.parametrize("pulls", [True, False], ids=["pull", "push"])
    async def test_they_are_renewed_half_way(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, pulls: bool, after: int
    ) -> None:
        """What was signed with the old ones is asked again: the run succeeds, obstore's part and boto3's."""
        if pulls:
            write_tree(sftp_server.root, FILES)
        else:
            put_objects(s3, bucket, FILES)
        rotation = Rotation(s3, after)
        run_one = run_pull if pulls else run_push
        ran = await run_one(sftp_server, s3, bucket, session=rotation.session(), concurrency=2)
        ran.done()
        assert rotation.left < 0, "the old ones were good for the whole run"
        check = check_pull(sftp_server.root, s3, bucket, FILES, ran) if pulls else None
        assert (check or check_push(sftp_server.root, bucket, FILES, ran)) == EVERY
        assert s3.unfinished_uploads(bucket) == [] or pulls
        await check_nothing_open(sftp_server)

    @pytest.mark.parametrize("pulls", [True, False], ids=["pull", "push"])
    async def test_nothing_renews_them(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, pulls: bool
    ) -> None:
        """What was not sent stays where it is, the report says why; the next try ends at once, and is not retried."""
        if pulls:
            write_tree(sftp_server.root, FILES)
        else:
            put_objects(s3, bucket, FILES)
        rotation = Rotation(s3, 4, renewed=False)
        run_one = run_pull if pulls else run_push
        ran = await run_one(sftp_server, s3, bucket, session=rotation.session(), concurrency=1)
        assert isinstance(ran.error, TransferError)
        assert ran.report is not None
        assert ran.failures
        assert [reason for reason in ran.failures.values() if "credentials have expired" not in reason] == []
        if pulls:
            check_pull(sftp_server.root, s3, bucket, FILES, ran)
        else:
            check_push(sftp_server.root, bucket, FILES, ran)
        again = await run_one(sftp_server, s3, bucket, session=rotation.session())
        assert isinstance(again.error, AuthenticationFailed)
        assert "ExpiredToken" in str(again.error)
        await check_nothing_open(sftp_server)


# --------------------------------------------------------------------------------------- somebody changes an object

#: The requests of a push of one object at which somebody else acts, just before and just after: by kind of mark.
STEPS = {
    "metadata": [
        *(("before", "GetObject"), ("after", "GetObject"), ("before", "CopyObject"), ("after", "CopyObject")),
    ],
    "tag": [
        *(("before", "GetObject"), ("after", "GetObject"), ("before", "GetObjectTagging")),
        *(("before", "PutObjectTagging"), ("after", "PutObjectTagging")),
    ],
    "none": [("before", "GetObject"), ("after", "GetObject")],
}
ON_THE_WAY = ("OPEN", "WRITE", "FSTAT", "FSYNC", "CLOSE", "POSIX-RENAME")


def _newer(s3: S3Server, bucket: str, key: str, data: bytes) -> Callable[[], None]:
    def overwrite() -> None:
        client = s3.client()
        client.put_object(Bucket=bucket, Key=key, Body=data, Metadata={"by": "the user"})
        client.close()

    return overwrite


def _deleted(s3: S3Server, bucket: str, key: str) -> Callable[[], None]:
    def delete() -> None:
        client = s3.client()
        client.delete_object(Bucket=bucket, Key=key)
        client.close()

    return delete


class TestUser:
    """A user overwrites or deletes an object while it is pushed."""

    @pytest.mark.parametrize("what", ["overwrite", "overwrite with as many", "delete", "delete and create"])
    @pytest.mark.parametrize(
        ("mark", "when", "operation", "size"),
        [
            *((mark, when, operation, 1000) for mark, steps in STEPS.items() for when, operation in steps),
            *(("metadata", "sftp", name, 1000) for name in ON_THE_WAY),
            *(("metadata", "after", "GetObject", 11 * MiB), ("metadata", "sftp", "WRITE", 11 * MiB)),
            ("metadata", "before", "CopyObject", 11 * MiB),
        ],
    )
    async def test_an_object_changes_while_it_is_pushed(
        self,
        sftp_server: AsyncsshServer,
        s3: S3Server,
        bucket: str,
        mark: str,
        when: str,
        operation: str,
        what: str,
        size: int,
    ) -> None:
        """No mark on bytes that were not sent, no newer bytes undone; the newest arrive with this run or the next."""
        old, new = os.urandom(size), os.urandom(size if what == "overwrite with as many" else size - 1)
        put_objects(s3, bucket, {"k": old, "sibling": b"s"})
        (sftp_server.root / "k").write_bytes(b"an old one of theirs")
        overwrite, delete = _newer(s3, bucket, "k", new), _deleted(s3, bucket, "k")
        acted = 0

        def act(*_: object) -> None:
            nonlocal acted
            acted += 1
            if what.startswith("delete"):
                delete()
            if what != "delete":
                overwrite()

        if when == "sftp":
            sftp_server.fault = Acts(act, (operation,), where=lambda r: r.path != "/" and _is_of(r, old))
        else:

            def hook(request: S3Request) -> None:
                if (request.operation, request.key, acted) == (operation, "k", 0):
                    act()

            (s3.before if when == "before" else s3.after)(hook)
        await run_push(sftp_server, s3, bucket, mark=mark, concurrency=1)
        assert acted == 1, "the run did not come by this step"
        sftp_server.fault = Fault()
        s3._before.clear()
        s3._after.clear()

        objects = s3.objects(bucket)
        table.checked(2)
        undone = objects.get("k") != (None if what == "delete" else new)
        table.none_is("lost", ["the user's own bytes were undone"] if undone else [])
        there = (sftp_server.root / "k").read_bytes()
        table.none_is("wrong bytes", [] if there in (b"an old one of theirs", old, new) else ["k"])
        table.none_is("left over", leftovers(sftp_server.root))
        table.none_is("wrong marks", marked_keys(bucket) & {"k"} if there != new else [])
        assert (sftp_server.root / "sibling").read_bytes() == b"s"
        if mark == "none" and what != "delete":
            return  # every run pushes everything again
        again = await run_push(sftp_server, s3, bucket, mark=mark)
        again.done()
        if what != "delete":
            assert (sftp_server.root / "k").read_bytes() == new, "the newest bytes have not arrived"
            assert marked_keys(bucket) == {"k", "sibling"}
            head = s3.client().head_object(Bucket=bucket, Key="k")
            assert head["Metadata"]["by"] == "the user"
        await check_nothing_open(sftp_server)

    @pytest.mark.parametrize("mark", MODES)
    async def test_an_object_that_is_always_overwritten(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, mark: str
    ) -> None:
        """Overwritten under every try: the run ends, nothing is marked, and the newest bytes come with the next run."""
        put_objects(s3, bucket, {"k": b"version 0", "sibling": b"s"})
        versions = 0

        @s3.after
        def overwrite(request: S3Request) -> None:
            nonlocal versions
            if request.operation == "GetObject" and request.key == "k":
                versions += 1
                _newer(s3, bucket, "k", b"version %d" % versions)()

        ran = await run_push(sftp_server, s3, bucket, mark=mark)
        assert versions < 10
        assert marked_keys(bucket) == {"sibling"}
        s3._after.clear()
        again = await run_push(sftp_server, s3, bucket, mark=mark)
        again.done()
        assert read_tree(sftp_server.root) == {"k": b"version %d" % versions, "sibling": b"s"}
        assert marked_keys(bucket) == {"k", "sibling"}
        assert ran.report is not None

    async def test_a_copy_takes_its_mark_along_and_is_pushed_all_the_same(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
    ) -> None:
        """Metadata travels when a user copies a marked object: the copy is another object."""
        put_objects(s3, bucket, {"k": b"x"})
        (await run_push(sftp_server, s3, bucket)).done()
        client = s3.client()
        client.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
        client.close()
        ran = await run_push(sftp_server, s3, bucket)
        assert ran.done().transferred == 1
        assert read_tree(sftp_server.root) == {"k": b"x", "copy": b"x"}

    def test_the_names_of_the_marks(self) -> None:
        """What other tools may look for stays what it is."""
        assert (SYNCED, TAG) == ("synced", "sftp-s3-synced")


def _is_of(request: Any, old: bytes) -> bool:
    return ".part" in request.path and (request.length or len(old)) > 1


class TestListing:
    """What S3 lists and how, and one key that it will not tell about."""

    async def test_keys_that_a_store_writes_as_xml_and_as_a_url(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
    ) -> None:
        """A Ceph gateway's listing with encoding-type=url has `&apos;` for a quote: it is pushed as all others."""
        files = {
            key: key.encode()
            for key in ("it's", "a&b", "a&amp;b", "&apos;", "it%27s", "a+b", "a b", "<b>", 'say "x"', "x%2By", "é&#39;")
        }
        put_objects(s3, bucket, files)

        @s3.rewrite
        def as_ceph(request: S3Request, body: bytes) -> bytes:
            return body.replace(b"%27", b"&apos;") if request.operation == "ListObjectsV2" else body

        ran = await run_push(sftp_server, s3, bucket)
        assert ran.done().transferred == len(files)
        assert read_tree(sftp_server.root) == files
        assert ran.watcher.notices == []

    async def test_listed_objects_that_s3_does_not_know_are_a_notice(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str
    ) -> None:
        """One for all of them, in a push and where the unsynced ones are listed; the others are pushed."""
        put_objects(s3, bucket, FILES)
        fails(s3, (404, "NoSuchKey"), key="a")
        fails(s3, (404, "NoSuchKey"), key="empty")
        told: list[str] = []
        chosen = TransferOptions(**PATIENT)
        async with bucket_of(s3, bucket, chosen) as place:
            wanted = PushSettings(sftp_path="/")
            found = [entry.key async for entry in unsynced(wanted, place, chosen, ledger_of(place), told.append)]
        assert found == sorted(EVERY - {"a", "empty"})
        ran = await run_push(sftp_server, s3, bucket, concurrency=1)
        assert ran.done().skipped == {"deleted": 2}
        assert ran.watcher.notices == told
        assert len(told) == 1
        assert "lists 2 objects that it does not know" in told[0]
        assert f"s3://{bucket}/a." in told[0]

    @pytest.mark.parametrize("cut", [b"</ListBucketResult>", b"</Contents>", b"<IsTruncated>"])
    async def test_half_a_page_is_no_page(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, cut: bytes
    ) -> None:
        """A page whose end is missing, though S3 calls it whole, is not a prefix with fewer objects."""
        put_objects(s3, bucket, {"a": b"a", "b": b"b"})

        @s3.rewrite
        def rewrite(request: S3Request, body: bytes) -> bytes:
            return body.partition(cut)[0] if request.operation == "ListObjectsV2" else body

        ran = await run_push(sftp_server, s3, bucket)
        assert isinstance(ran.error, TransferError)
        assert "cannot be listed" in str(ran.error)

    @pytest.mark.parametrize(("gives", "reason"), [(True, "the same page"), (False, "how to ask for it")])
    async def test_a_listing_that_does_not_go_on_is_an_error(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, gives: bool, reason: str
    ) -> None:
        """S3 says that there is more, and gives no token for it, or always the same one."""
        put_objects(s3, bucket, {"a": b"a", "b": b"b"})
        client = s3.client()
        token = client.list_objects_v2(Bucket=bucket, MaxKeys=1)["NextContinuationToken"].encode()
        client.close()

        @s3.rewrite
        def rewrite(request: S3Request, body: bytes) -> bytes:
            if request.operation != "ListObjectsV2" or "max-keys" in request.query:
                return body
            more = b"<NextContinuationToken>%s</NextContinuationToken>" % token if gives else b""
            return body.replace(b"<IsTruncated>false", more + b"<IsTruncated>true")

        ran = await run_push(sftp_server, s3, bucket)
        assert isinstance(ran.error, TransferError)
        assert reason in str(ran.error)

    @pytest.mark.parametrize("settings", [{}, {"max_bytes": 10**6}], ids=["plain", "max_bytes"])
    async def test_a_given_key_that_is_forbidden_leaves_the_others_alone(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, settings: dict[str, Any]
    ) -> None:
        """Of three keys given, the one that is forbidden fails by name; the other two are pushed."""
        put_objects(s3, bucket, {"a": b"a", "b": b"b", "c": b"c"})
        fails(s3, (403, "AccessDenied"), key="b")
        ran = await run_push(sftp_server, s3, bucket, s3_keys=["a", "b", "c"], **settings)
        assert isinstance(ran.error, SftpS3Error), ran.error
        assert set(ran.failures) == {"b"}
        assert read_tree(sftp_server.root) == {"a": b"a", "c": b"c"}

    @pytest.mark.parametrize("settings", [{}, {"max_bytes": 10**6}], ids=["plain", "max_bytes"])
    async def test_a_given_key_that_is_refused_leaves_the_others_alone(
        self, sftp_server: AsyncsshServer, s3: S3Server, bucket: str, settings: dict[str, Any]
    ) -> None:
        """Of three keys given, the one that is no path fails by name; the other two are pushed."""
        put_objects(s3, bucket, {"a": b"a", "c": b"c"})
        ran = await run_push(sftp_server, s3, bucket, s3_keys=["a", "x//b", "c"], **settings)
        assert isinstance(ran.error, SftpS3Error), ran.error
        assert set(ran.failures) == {"b"}
        assert read_tree(sftp_server.root) == {"a": b"a", "c": b"c"}

    @pytest.mark.parametrize("answer", [(403, "AccessDenied"), (500, "InternalError")], ids=str)
    async def test_what_is_unsynced_is_found_though_one_object_cannot_be_looked_at(
        self, s3: S3Server, bucket: str, answer: tuple[int, str]
    ) -> None:
        """A key whose HEAD fails is left to the push, which says so; the others are found."""
        put_objects(s3, bucket, {"a": b"a", "b": b"b", "c": b"c"})
        fails(s3, answer, key="b")
        options = PATIENT | {"idle_timeout": 1.0}
        chosen = TransferOptions(**options)
        async with bucket_of(s3, bucket, chosen) as place:
            found = [
                entry.key async for entry in unsynced(PushSettings(sftp_path="/"), place, chosen, ledger_of(place))
            ]
        assert found == ["a", "b", "c"]
