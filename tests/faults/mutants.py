"""
Takes each guard out of the code, one at a time, and shows which test notices: ``make mutants``.

A mutant is one replacement in a copy of the package, and the few tests that it should fail. The run fails when they
all pass, when they cannot run, or when the text to be replaced is not found exactly once: then it has to be found
again, and stated here.

``python -m tests.faults.mutants WORD`` runs those whose guard has the word in it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGE = "airflow_provider_sftp_s3"
#: How long the few tests may take, and how long is for ever where a mutant has no time limit in it.
SECONDS = 300.0
HANGS = 45.0


@dataclass(frozen=True)
class Mutant:
    """
    One guard, and its removal.

    :param guard: what is lost with it.
    :param module: file of the package.
    :param old: text that stands there once.
    :param new: what takes its place.
    :param tests: arguments for pytest: the few tests of which one should fail.
    :param hangs: without the guard a run waits for ever.
    """

    guard: str
    module: str
    old: str
    new: str
    tests: tuple[str, ...]
    hangs: bool = False


def _only(file: str, expression: str) -> tuple[str, ...]:
    return (f"tests/{file}", "-k", expression)


GUARDS = "faults/test_guards.py"
CHANGES = "faults/test_changes.py"
LEFT = "faults/test_left_uploads.py"
PULL = "integration/test_pull.py"
PUSH = "integration/test_push.py"
PATHS = "unit/test_paths.py"

MUTANTS = (
    # --- pull: what was read is what is stored
    Mutant(
        "changed while reading: size before and after",
        "engine/pull.py",
        "if not before.size == counted == after.size or",
        "if before.size != counted or",
        _only(GUARDS, "changes_while_it_is_read and grows"),
    ),
    Mutant(
        "changed while reading: bytes counted",
        "engine/pull.py",
        "if not before.size == counted == after.size or",
        "if before.size != after.size or",
        _only(GUARDS, "ends_before_its_size"),
    ),
    Mutant(
        "changed while reading: mtime",
        "engine/pull.py",
        "or before.mtime != after.mtime:",
        "or False:",
        _only(GUARDS, "changes_while_it_is_read and is_overwritten"),
    ),
    Mutant(
        "changed while reading: multipart uploads",
        "engine/pull.py",
        "            await self._check()\n            raise",
        "            raise",
        _only("faults/test_s3_faults.py", "multipart_upload_of_a_file_that_changes"),
    ),
    Mutant(
        "a file that has changed since it was listed must be of age again",
        "engine/pull.py",
        "            if self._is_young(before):\n                return None\n",
        "",
        _only(PULL, "future_get_two_looks"),
    ),
    Mutant(
        "the look at what the move has brought into .done",
        "engine/pull.py",
        "if there == read:",
        "if True:",
        _only(CHANGES, "small_file_changes and POSIX-RENAME and replace and not same_size"),
    ),
    Mutant(
        "a file in .done that is still being written goes back",
        "engine/pull.py",
        "if moved and self._is_young(there):",
        "if False:",
        _only(GUARDS, "still_being_written"),
    ),
    Mutant(
        "a file that goes back never takes a newer one's place",
        "engine/pull.py",
        "if not await self.session.exists(path):\n            await self.session.rename(done, path)",
        "if True:\n            await self.session.replace(done, path)",
        _only(GUARDS, "goes_back"),
    ),
    Mutant(
        "min_age",
        "engine/listing.py",
        "now - entry.stat.mtime < self.min_age:",
        "False:",
        _only(PULL, "young_files_wait"),
    ),
    Mutant(
        "two looks at a file from the future",
        "engine/listing.py",
        "if self.min_age and entry.stat.mtime > now:",
        "if False:",
        _only(PULL, "future_get_two_looks"),
    ),
    Mutant(
        "the done directory is a directory",
        "engine/pull.py",
        'if not keeps and file.done == "other":',
        "if False:",
        _only(PULL, "done_that_is_no_directory"),
    ),
    Mutant(
        "only what is stamped is purged",
        "engine/pull.py",
        'return Outcome(old.label, "skipped", reason="not stamped, not purged")',
        "pass",
        _only(GUARDS, "not_stamped"),
    ),
    Mutant(
        "retention counts from the transfer",
        "engine/pull.py",
        "await self.session.set_mtime(done, int(time.time()))",
        "pass",
        _only(PULL, "retention_counts"),
    ),
    Mutant(
        "links and FIFOs are not read",
        "engine/listing.py",
        'elif entry.kind != "file":',
        "elif False:",
        _only(PULL, "what_is_no_file"),
    ),
    Mutant(
        "unfinished files of a push are not pulled",
        "engine/listing.py",
        "elif paths.is_temporary(entry.name):",
        "elif False:",
        _only(PULL, "what_is_no_file"),
    ),
    # --- pull: uploads that were left
    Mutant(
        "left uploads: of this key only",
        "engine/leavings.py",
        'found["Key"] != key or',
        "",
        _only(LEFT, "another_key"),
    ),
    Mutant(
        "left uploads: of this Dag run only",
        "engine/leavings.py",
        " or begun < self._since:",
        ":",
        _only(LEFT, "before_the_dag_run"),
    ),
    Mutant(
        "left uploads: not one that goes on",
        "engine/leavings.py",
        'if parsedate_to_datetime(listed.headers["Date"]) - newest > SILENT:',
        "if True:",
        _only(LEFT, "goes_on"),
    ),
    Mutant(
        "several sessions write one file only where the server shares files",
        "engine/sftp.py",
        " and self._session.is_openssh",
        "",
        _only("integration/test_far_away.py", "may_not_share"),
    ),
    Mutant(
        "a file is closed while it is read only where requests are done in their order",
        "engine/sftp.py",
        "return self.is_openssh and self.answers_whole",
        "return self.answers_whole",
        _only("integration/test_far_away.py", "closed_while"),
    ),
    Mutant(
        "a file that was closed before its end was read is read again",
        "engine/pull.py",
        "if before == expected and early and not self.session.closes_early:",
        "if False:",
        _only("integration/test_far_away.py", "leave_something_out"),
    ),
    # --- push: what is published is whole
    Mutant(
        "the size of what was written",
        "engine/push.py",
        "if not size == written == stored:",
        "if False:",
        _only(GUARDS, "not_all_there"),
    ),
    Mutant(
        "fsync",
        "engine/sftp.py",
        "            await self._sync()\n",
        "",
        _only(GUARDS, "synced_before"),
    ),
    Mutant(
        "every write is acknowledged, also where all was asked for behind it",
        "engine/sftp.py",
        "            await _acknowledged(unanswered, moved)\n            size = (await stored)",
        "            size = (await stored)",
        _only("integration/test_far_away.py", "write_that_fails"),
    ),
    Mutant(
        "a file's size is asked for along with its last bytes only where requests are done in their order",
        "engine/sftp.py",
        "        if not self._session.is_openssh:\n            await _ack",
        "        if False:\n            await _ack",
        _only("integration/test_far_away.py", "other_servers_are_waited_for"),
    ),
    Mutant(
        "a move is looked at along with it only where requests are done in their order",
        "engine/sftp.py",
        "        if self.is_openssh:\n            sftp =",
        "        if True:\n            sftp =",
        _only("integration/test_far_away.py", "other_servers_are_waited_for"),
    ),
    Mutant(
        "no data are sent during a key exchange",
        "engine/ssh_packets.py",
        "            and connection._kex_complete\n",
        "",
        _only("integration/test_ssh_packets.py", "new_keys"),
        hangs=True,
    ),
    Mutant(
        "no more data than the server may send",
        "engine/ssh_packets.py",
        "len(data) == size <= channel._recv_window",
        "len(data) == size",
        _only("integration/test_ssh_packets.py", "ends_the_connection"),
    ),
    Mutant(
        "what is not compressed alone",
        "engine/ssh_packets.py",
        " and not connection._decompressor",
        "",
        _only("integration/test_ssh_packets.py", "compression"),
        hangs=True,
    ),
    Mutant(
        "new keys when they are due",
        "engine/ssh_packets.py",
        "            and connection._rekey_bytes_sent < connection._rekey_bytes\n",
        "",
        _only("integration/test_ssh_packets.py", "new_keys"),
    ),
    Mutant(
        "a temporary name until it is whole",
        "engine/push.py",
        "temporary = posixpath.join(posixpath.dirname(path), paths.temporary_name(self.settings.owner))",
        "temporary = path",
        _only(GUARDS, "not_all_there"),
    ),
    Mutant(
        "a temporary name of nobody else",
        "engine/paths.py",
        "{secrets.token_hex(4)}",
        "00000000",
        _only(PATHS, "temporary_names"),
    ),
    Mutant(
        "a retry removes its own temporary files only",
        "engine/push.py",
        "paths.is_temporary(entry.name, self._owner)",
        "paths.is_temporary(entry.name)",
        _only(PUSH, "earlier_tries"),
    ),
    Mutant(
        "an unfinished file is removed when its transfer fails",
        "engine/sftp.py",
        "            self.later(self.remove(path))\n",
        "",
        _only("faults/test_servers.py", "push and (fsync and fails)"),
    ),
    Mutant(
        "without posix-rename: what was moved aside comes back",
        "engine/sftp.py",
        "                await self.rename(aside, new)\n",
        "",
        _only("faults/test_servers.py", "push and onto and aside"),
    ),
    # --- push: marks
    Mutant(
        "mark: condition on the source",
        "engine/marks.py",
        '            "x-amz-copy-source-if-match": version.etag,\n',
        "",
        _only(GUARDS, "each_condition"),
    ),
    Mutant(
        "mark: condition on the destination",
        "engine/marks.py",
        'target = {"If-Match": version.etag}',
        "target: dict[str, str] = {}",
        _only(GUARDS, "each_condition"),
    ),
    Mutant(
        "the key's hash in a mark",
        "engine/marks.py",
        'version.metadata.get(SYNCED) == "true" and version.metadata.get(SYNCED_KEY) == key_hash(bucket, key)',
        'version.metadata.get(SYNCED) == "true"',
        _only(PUSH, "copy_to_another_key and metadata"),
    ),
    Mutant(
        "the bucket in the key's hash",
        "engine/marks.py",
        'f"{bucket}/{key}"',
        "key",
        _only(PUSH, "copy_to_another_bucket"),
    ),
    Mutant(
        "the ETag in a tag",
        "engine/marks.py",
        "(await self._tags(key)).get(TAG) == self._tag_value(key, version.etag)",
        "TAG in await self._tags(key)",
        _only("faults/test_s3_faults.py", "changes_while_it_is_pushed and tag and PutObjectTagging and overwrite"),
    ),
    Mutant(
        "tags: all that the answer shows are plainly tags",
        "engine/s3_xml.py",
        'if names != ["Key", "Value"] or any(len(child) for child in tag):',
        "if False:",
        _only("unit/test_s3_xml.py", "no_list_of_tags"),
    ),
    Mutant(
        "tags: as many as the object has",
        "engine/marks.py",
        "if head is not None and len(tags) < head.tags:",
        "if False:",
        _only("faults/test_s3_faults.py", "overwrites_none and asyncio"),
    ),
    Mutant(
        "a mark that is refused before any other was taken ends the run",
        "engine/marks.py",
        "if self._has_marked or refused.passes",
        "if True or refused.passes",
        _only("faults/test_s3_faults.py", "ends_with_what_to_change and asyncio"),
    ),
    Mutant(
        "the first file of a push is marked before another one is delivered",
        "engine/push.py",
        "            await turn.enter_async_context(self._turn())\n",
        "",
        _only("faults/test_s3_faults.py", "ends_with_what_to_change and asyncio"),
    ),
    Mutant(
        "a file that was delivered and could not be marked is in the report of the run that ends with it",
        "engine/push.py",
        "            self._refused = refused\n            self._report_unmarked(pushed, target)\n",
        "            self._refused = refused\n",
        _only("faults/test_s3_faults.py", "ends_with_what_to_change and asyncio"),
    ),
    Mutant(
        "what is overwritten under a push is taken again",
        "engine/push.py",
        'if marked != "overwritten":',
        "if marked:",
        _only(PUSH, "overwrite_during_the_push and metadata"),
    ),
    Mutant(
        "the newest bytes, whoever has marked them",
        "engine/push.py",
        "if not attempt and await",
        "if await",
        _only(PUSH, "newest_bytes_win"),
    ),
    # --- S3's answers
    Mutant(
        "a key in a listing: the XML is undone before the URL",
        "engine/s3_xml.py",
        'if "&" in inside:',
        "if False:",
        _only("faults/test_s3_faults.py", "a_store_writes and asyncio"),
    ),
    Mutant(
        "a listing that does not go on where there is more",
        "engine/s3.py",
        'if token is None and s3_xml.text_of(about, "IsTruncated") == "true":',
        "if False:",
        _only("unit/test_s3_xml.py", "no_page_of_a_listing"),
    ),
    Mutant(
        "objects that S3 lists and does not know are said",
        "engine/push.py",
        "        self._unknown.tell(self.observer.notice)\n",
        "",
        _only("faults/test_s3_faults.py", "does_not_know and asyncio"),
    ),
    Mutant(
        "a file that obstore uploads is sent again for longer than an outage lasts",
        "engine/s3.py",
        '"max_retries": 1_000_000,',
        '"max_retries": 3,',
        _only("faults/test_s3_outage.py", "a_pull and 503"),
    ),
    # --- names
    Mutant(
        "containment: dot segments of a key",
        "engine/paths.py",
        'if segment in (b".", b".."):',
        "if False:",
        _only(PATHS, "leaves_its_directory or refused_with_a_reason"),
    ),
    Mutant(
        "containment: what strip_regex leaves",
        "engine/paths.py",
        "    _check_segments(relative)\n",
        "",
        _only(PATHS, "leaves_a_way_out"),
    ),
    Mutant(
        "containment: slashes in a listing",
        "engine/paths.py",
        'if b"/" in name:',
        "if False:",
        _only(PATHS, "listed_name_that_is_no_name"),
    ),
    Mutant(
        "containment: dot names in a listing",
        "engine/paths.py",
        'if name in (b"", b".", b".."):',
        "if False:",
        _only(PATHS, "listed_name_that_is_no_name"),
    ),
    Mutant(
        "containment: names that a server lists are checked",
        "engine/listing.py",
        "                paths.check_name(entry.name)\n",
        "                pass\n",
        _only("faults/test_names.py", "hostile_names_lead_nowhere"),
    ),
    Mutant(
        "keys that are our own temporary names",
        "engine/paths.py",
        "    if is_temporary(name):\n",
        "    if False:\n",
        _only(PATHS, "refused_with_a_reason or temporary_names"),
    ),
    # --- connections and time
    Mutant(
        "host key",
        "engine/ssh.py",
        "    if not server.verify_host_key:\n",
        "    if True:\n",
        _only("integration/test_connections.py", "another_host_key_is_refused"),
    ),
    Mutant(
        "the watchdog of a silent server",
        "engine/sftp.py",
        "if silent > limit or sftp.newest_answered - sent > limit:",
        "if False:",
        _only("faults/test_servers.py", "TestHungRequests and pull_ends_in_time and READ and not READDIR"),
        hangs=True,
    ),
    Mutant(
        "conn_timeout",
        "engine/ssh.py",
        "async with asyncio.timeout(timeout):",
        "async with asyncio.timeout(None):",
        _only("faults/test_servers.py", "no_banner"),
        hangs=True,
    ),
    Mutant(
        "a multipart upload that is cancelled is aborted",
        "engine/s3.py",
        "                call_off()\n",
        "",
        _only("faults/test_servers.py", "multipart_upload_is_cancelled"),
    ),
)


def run(mutant: Mutant, copy: Path) -> str:
    """
    Return what noticed the mutant.

    :param copy: of the repository, where nobody else is at work.
    :raises LookupError: nothing did, or it could not be tried.
    """
    module = copy / PACKAGE / mutant.module
    text = module.read_text()
    if text.count(mutant.old) != 1:
        raise LookupError(f"its text stands {text.count(mutant.old)} times in {mutant.module}: state it anew")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rf", "-p", "no:cacheprovider", "-p", "no:xdist"]
    module.write_text(text.replace(mutant.old, mutant.new))
    try:
        done = subprocess.run(
            [*command, *mutant.tests],
            cwd=copy,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=HANGS if mutant.hangs else SECONDS,
        )
    except subprocess.TimeoutExpired:
        if mutant.hangs:
            return "a run that does not end"
        raise LookupError("its tests do not end") from None
    finally:
        module.write_text(text)
    failed = re.search(r"^FAILED \S*/(\S+?\.py::.*?)(?: - |$)", done.stdout, re.MULTILINE)
    if done.returncode == 1 and failed:
        return failed[1]
    if done.returncode == 0:
        raise LookupError(f"SURVIVED {' '.join(mutant.tests)}")
    raise LookupError(f"its tests do not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


@contextmanager
def copies(number: int) -> Iterator[list[Path]]:
    """Make copies of what tests need of the repository, and remove them in the end."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as top:
        made = [Path(top) / str(n) for n in range(number)]
        for copy in made:
            copy.mkdir()
            shutil.copy(REPOSITORY / "pyproject.toml", copy)
            for directory in (PACKAGE, "tests"):
                shutil.copytree(REPOSITORY / directory, copy / directory, ignore=shutil.ignore_patterns("__pycache__"))
        yield made


def main(words: list[str]) -> int:
    """Print a table of all mutants; return 1 where one was not noticed."""
    chosen = [mutant for mutant in MUTANTS if all(word in mutant.guard for word in words)]
    workers = max(1, min(len(chosen), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2))
    started = time.monotonic()
    wrong = 0
    print("| guard | mutation | noticed by |\n|---|---|---|")
    with copies(workers) as made, ThreadPoolExecutor(workers) as pool:
        free = list(made)

        def attempt(mutant: Mutant) -> tuple[bool, str]:
            copy = free.pop()
            try:
                return True, run(mutant, copy)
            except LookupError as survived:
                return False, str(survived)
            finally:
                free.append(copy)

        for mutant, (noticed, by) in zip(chosen, pool.map(attempt, chosen), strict=True):
            wrong += not noticed
            shown = [" ".join(text.split()) or "(nothing)" for text in (mutant.old, mutant.new)]
            print(f"| {mutant.guard} | `{shown[0]}` -> `{shown[1]}` | {by} |", flush=True)
    print(f"\n{len(chosen) - wrong} of {len(chosen)} mutants noticed in {time.monotonic() - started:.0f} s")
    return 1 if wrong or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
