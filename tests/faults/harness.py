"""One run of the engine against given servers, and the one question that follows every fault: was anything lost?"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from airflow_provider_sftp_s3.engine.model import Outcome, Report
from airflow_provider_sftp_s3.engine.options import MiB, TransferOptions
from airflow_provider_sftp_s3.engine.pull import pull
from airflow_provider_sftp_s3.engine.push import push
from airflow_provider_sftp_s3.engine.s3.bucket import Bucket
from airflow_provider_sftp_s3.engine.s3.names import SYNCED, TAG
from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings
from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer as Target
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from tests.faults import table
from tests.support import secrets
from tests.support.engine import Recorder
from tests.support.s3_server import S3Endpoint, S3Server
from tests.support.sftp_servers import AsyncsshServer, Fault, Proceed, Request, SftpServer, answered
from tests.support.trees import put, tree

TEMPORARY = re.compile(r"\.?[0-9a-f]{16}\.part")
"""The names that the engine gives to unfinished files."""

PATIENT: dict[str, Any] = {"conn_timeout": 20.0, "idle_timeout": 60.0, "part_size": 5 * MiB}
"""Time limits that no healthy test comes near, however busy the machine is."""


PUSHES: dict[str, dict[str, Any]] = {
    "push": {},
    "push, by tag": {"mark": "tag"},
    "push, move": {"s3_prefix": "out/", "after_transfer": "move", "sent_prefix": "sent/"},
    "push, delete": {"s3_prefix": "out/", "after_transfer": "delete"},
}
"""What a push may do with an object that it has delivered, and its settings for that."""


@dataclass
class Ran:
    """What became of one run: its report, its error where it raised one, and what its observer saw."""

    report: Report | None
    error: BaseException | None
    seconds: float
    watcher: Recorder = field(repr=False)

    @property
    def outcomes(self) -> list[Outcome]:
        return self.watcher.outcomes

    @property
    def transferred(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status == "transferred"]

    @property
    def failures(self) -> dict[str, str]:
        """Every failed source, by its last segment, and why."""
        return {_last(outcome.source): outcome.reason for outcome in self.outcomes if outcome.status == "failed"}

    def done(self) -> Report:
        """Return the report of a run in which nothing failed."""
        assert self.error is None, f"the run failed: {self.error!r}"
        assert self.report is not None
        assert self.report.failed == 0
        return self.report

    def same_report_as_outcomes(self) -> None:
        """The counts of the report are those of the outcomes: none is made up, none forgotten."""
        if self.report is not None:
            assert self.report.transferred == len(self.transferred)
            assert self.report.failed == len([o for o in self.outcomes if o.status == "failed"])
            assert sum(self.report.skipped.values()) == len(
                [o for o in self.outcomes if o.status in ("skipped", "recovered")]
            )


def _last(uri: str) -> str:
    return uri.rstrip("/").rpartition("/")[2]


def target_of(server: Any, **fields: Any) -> Target:
    """Return how the engine reaches a test server, host key verified."""
    known: dict[str, Any] = {"host": server.host, "port": server.port, "username": "user"}
    if isinstance(server, SftpServer):
        known |= {
            "username": server.username,
            "private_key": server.client_key_text,
            "host_key": server.host_key,
        }
    else:
        known |= {"verify_host_key": False, "password": "none"}
    return Target(**(known | fields))


def bucket_of(s3: S3Endpoint, name: str, options: TransferOptions, session: boto3.Session | None = None) -> Bucket:
    """Return the engine's view of a bucket on a test server."""
    session = session or s3.session()
    return Bucket(name, s3.client(session), session, options)


async def run(
    settings: PullSettings | PushSettings,
    server: Any,
    s3: S3Endpoint,
    bucket: str,
    *,
    login: Mapping[str, Any] | None = None,
    session: boto3.Session | None = None,
    **options: Any,
) -> Ran:
    """Run one pull or push from connect to hang-up; an error is part of the result, a cancellation is not.

    :param login: fields of the engine's ``SftpServer`` that differ.
    :param session: where the credentials come from; none: the fixed ones.
    :param options: fields of ``TransferOptions`` that differ from :data:`PATIENT`.
    """
    chosen = TransferOptions(**(PATIENT | options))
    watcher = Recorder()
    if isinstance(server, SftpServer):
        server.refresh()
    started = time.monotonic()
    report: Report | None = None
    error: BaseException | None = None
    try:
        async with (
            bucket_of(s3, bucket, chosen, session) as place,
            SftpSession(target_of(server, **(login or {})), chosen) as sftp,
        ):
            if isinstance(settings, PullSettings):
                report = await pull(settings, sftp, place, chosen, watcher)
            else:
                report = await push(settings, sftp, place, chosen, watcher)
    except Exception as failed:
        error = failed
        report = getattr(failed, "report", None)
    ran = Ran(report, error, time.monotonic() - started, watcher)
    ran.same_report_as_outcomes()
    return ran


async def run_pull(server: Any, s3: S3Endpoint, bucket: str, path: str | None = None, **more: Any) -> Ran:
    """Pull everything beneath ``path``, however young; keywords go to the settings or to the options, by their name."""
    settings, options = _split(PullSettings, more)
    settings = {"sftp_path": path or server.path(), "min_age": 0} | settings
    return await run(PullSettings(**settings), server, s3, bucket, **options)


async def run_push(server: Any, s3: S3Endpoint, bucket: str, path: str | None = None, **more: Any) -> Ran:
    """Push every unmarked object to ``path``; keywords as in :func:`run_pull`."""
    settings, options = _split(PushSettings, more)
    settings = {"sftp_path": path or server.path(), "owner": "abcdef01"} | settings
    return await run(PushSettings(**settings), server, s3, bucket, **options)


def _split(kind: type[Any], more: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    names = set(kind.__dataclass_fields__)
    return {k: v for k, v in more.items() if k in names}, {k: v for k, v in more.items() if k not in names}


# ------------------------------------------------------------------------------------------------- what is where


def write_tree(root: Path, files: Mapping[str, bytes], *, age: float = 3600.0) -> None:
    """Put files beneath ``root``, ``age`` seconds old."""
    put(root, files, int(time.time() - age))
    for data in files.values():
        secrets.contents(data)


def make_old(place: Path, age: float = 3600.0) -> None:
    """Set a file's mtime to ``age`` seconds ago."""
    when = int(time.time() - age)
    os.utime(place, (when, when))


read_tree = tree


def put_objects(s3: S3Endpoint, bucket: str, objects: Mapping[str, bytes]) -> None:
    """Store objects as a user does."""
    client = s3.client()
    for key, data in objects.items():
        client.put_object(Bucket=bucket, Key=key, Body=data)
        secrets.contents(data)  # only now: botocore logs what this client sends
    client.close()


def marked_keys(bucket: str) -> set[str]:
    """Return the keys that carry a valid mark of either kind, read behind the API."""
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    found = set()
    for key, thing in backend.get_bucket(bucket).keys.items():
        metadata = {name.lower().removeprefix("x-amz-meta-"): value for name, value in thing.metadata.items()}
        tags = backend.tagger.get_tag_dict_for_resource(thing.arn)
        if metadata.get(SYNCED) == "true" or tags.get(TAG, "").startswith(str(thing.etag).strip('"') + ":"):
            found.add(key)
    return found


# ------------------------------------------------------------------------------------------------- nothing is lost


def check_pull(
    root: Path,
    s3: S3Server,
    bucket: str,
    files: Mapping[str, bytes],
    ran: Ran,
    *,
    prefix: str = "",
    before: Mapping[str, bytes] | None = None,
) -> set[str]:
    """Check that a pull lost nothing and claims nothing that is not so; return the files that it moved.

    Every file is at its source or in ``.done``, whole; what is in ``.done`` or reported is in S3, byte for byte.

    :param before: what the done directories held already, by the names of the files that take its place.
    """
    tree = read_tree(root)
    objects = s3.objects(bucket)
    table.checked(len(files))
    places = {name: [where for where in (name, done_path(name)) if where in tree] for name in files}
    moved = {name for name in files if name not in tree}
    for name, old in (before or {}).items():
        if name not in moved:
            assert tree.get(done_path(name)) == old, f"the old {name} is gone from .done, and nothing took its place"
            places[name].remove(done_path(name))
    reported = {outcome.target.removeprefix(f"s3://{bucket}/{prefix}") for outcome in ran.transferred}
    assert reported <= set(files)
    table.none_is("lost", [name for name, where in places.items() if not where])
    assert not [name for name, where in places.items() if len(where) > 1], "a file is both at its source and in .done"
    table.none_is("wrong bytes", [name for name, (where,) in places.items() if tree[where] != files[name]])
    table.none_is("wrong bytes", [key for key in objects if objects[key] != files[key.removeprefix(prefix)]])
    table.none_is("wrong marks", [name for name in moved if prefix + name not in objects])
    table.none_is("false successes", [name for name in reported if name not in moved])
    table.none_is("left over", leftovers(root))
    return moved


def check_push(
    root: Path,
    bucket: str,
    objects: Mapping[str, bytes],
    ran: Ran,
    *,
    old: Mapping[str, bytes] | None = None,
    leavings: bool = False,
    halves: bool = False,
) -> set[str]:
    """Check that a push lost nothing and claims nothing that is not so; return the keys whose files it wrote.

    What is marked or reported is at the SFTP server, byte for byte; a file that was there before is there still,
    as the old one or the new one.

    :param old: what the directory held before.
    :param leavings: temporary files may remain, where the server does not let us remove them.
    :param halves: half a file may stand under its own name, where a run without ``temp_name`` was killed.
    """
    tree = read_tree(root)
    table.checked(len(objects))
    written = {key for key, data in objects.items() if tree.get(key) == data}
    reported = {outcome.source.removeprefix(f"s3://{bucket}/") for outcome in ran.transferred}
    table.none_is("lost", [f"the partner's {name}" for name in old or {} if name not in tree])
    allowed = {name: {(old or {}).get(name), objects.get(name)} for name in tree}
    unknown = [name for name, data in tree.items() if data not in allowed[name]]
    halves_of = set(objects) if halves else set()
    wrong = [name for name in unknown if not TEMPORARY.fullmatch(Path(name).name) and name not in halves_of]
    table.none_is("wrong bytes", wrong)
    table.none_is("wrong marks", marked_keys(bucket) - written)
    table.none_is("false successes", reported - written)
    if not leavings:
        table.none_is("left over", leftovers(root))
    return written


def beneath(s3: S3Server, bucket: str, prefix: str | None) -> dict[str, bytes]:
    """Return the objects under a prefix that are not our own; none where there is no prefix."""
    if prefix is None:
        return {}
    objects = s3.objects(bucket)
    return {
        key.removeprefix(prefix): objects[key] for key in objects if key.startswith(prefix) and "/.sftp-s3/" not in key
    }


def check_taken(
    s3: S3Server, bucket: str, files: Mapping[str, bytes], written: set[str], pushed: Mapping[str, str]
) -> None:
    """
    Check that a push that moves or deletes took away nothing but what it had delivered.

    :param written: what :func:`check_push` has found at the SFTP server.
    :param pushed: the settings, of :data:`PUSHES`.
    """
    left, sent = (beneath(s3, bucket, pushed.get(name)) for name in ("s3_prefix", "sent_prefix"))
    table.none_is("lost", [name for name in files if name not in left and name not in written])
    table.none_is("wrong bytes", [name for name, data in left.items() if data != files[name]])
    if "sent_prefix" in pushed:
        table.none_is("lost", [name for name in files if name not in left and sent.get(name) != files[name]])


def done_path(name: str) -> str:
    """Return where a pull moves the file of this relative path."""
    place = Path(name)
    return str(place.parent / ".done" / place.name)


def leftovers(root: Path) -> list[str]:
    """Return the temporary files of ours beneath ``root``."""
    return [str(f.relative_to(root)) for f in root.rglob("*") if TEMPORARY.fullmatch(f.name)]


async def settles(condition: Any, seconds: float = 30.0) -> bool:
    """Wait until ``condition()`` holds, and say whether it did in time: far more than it takes on a busy machine."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


async def check_nothing_open(server: AsyncsshServer) -> None:
    """The server has no handle and no connection left, and nothing to do."""
    assert await settles(lambda: server.is_quiet), (
        f"{server.open_handles} handles and {server.connections} connections are open"
    )


# ------------------------------------------------------------------------------------------------- more faults


class Together(Fault):
    """Several misbehaviours at once: the first one sees each request first."""

    sees_probes = True

    def __init__(self, *faults: Fault) -> None:
        self.faults: Sequence[Fault] = faults
        self.withheld = frozenset().union(*(fault.withheld for fault in faults))

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        def nested(rest: Sequence[Fault]) -> Proceed:
            if not rest:
                return proceed
            return lambda: answered(rest[0], server, request, nested(rest[1:]))

        return await nested(self.faults)()


@dataclass
class Acts(Fault):
    """Calls a function before chosen requests: an event in the middle of a run, such as another writer.

    :param act: called with the request, once, or each time with ``always``; may raise what a fault may raise.
    :param names: which requests.
    :param nth: which of them, counted from 1.
    :param where: says whether a request counts.
    """

    act: Any
    names: Iterable[str]
    nth: int = 1
    where: Any = None
    always: bool = False
    after: bool = False
    acted: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False)

    async def answer(self, server: AsyncsshServer, request: Request, proceed: Proceed) -> Any:
        due = False
        if request.name in self.names and (self.where is None or self.where(request)):
            self._seen += 1
            due = self._seen == self.nth or (self.always and self._seen >= self.nth)
        if due and not self.after:
            self.acted += 1
            self.act(request)
        result = await proceed()
        if due and self.after:
            self.acted += 1
            self.act(request)
        return result
