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
ODD = "faults/test_odd_servers.py"
LIARS = "faults/test_liars.py"
SHARDS = "integration/test_shards.py"
MIXTURES = "faults/test_oddities.py"
DELETES = "faults/test_deletes.py"
PURGES = "faults/test_purges.py"
ENDLESS = "faults/test_endless.py"
LOGINS = "integration/test_logins.py"
GLOBS = "unit/test_globs.py"
MARKS = "integration/test_marks.py"
SENT = "unit/test_s3_sent.py"
PUSH_SENT = "integration/test_sent.py"
PLACES = "unit/test_flows_places.py"
AWS_SETTINGS = "integration/test_aws_settings.py"
PATHS = "unit/test_paths.py"
LEDGER = "integration/test_ledger.py"
LEDGER_UNIT = "unit/test_s3_ledger.py"
TEMPORARY = "unit/test_temporary.py"
NO_RENAME = "faults/test_no_rename.py"
LINKS = "integration/test_links.py"
DROP_BOXES = "faults/test_drop_boxes.py"
LIMITS = "unit/test_limits.py"
RUN = "unit/test_run.py"
PROTOCOL = "unit/test_sftp_protocol.py"
RENAME = "unit/test_rename.py"
RENAMED = "integration/test_rename_to.py"
RECEIPTS = "integration/test_receipts.py"
CONFLICT = "integration/test_on_conflict.py"
KEYS = "unit/test_keys.py"
ONLY_NEW = "unit/test_s3_only_new.py"
DAYS = "integration/test_dated_done_dir.py"
DONE_CONFLICT = "integration/test_done_conflict.py"
ATTRIBUTES = "unit/test_attributes.py"
GIVEN = "integration/test_sftp_paths.py"
FILE_ATTRIBUTES = "integration/test_file_attributes.py"
DUTY = "integration/test_on_duty.py"
COMMAND_LINE = "integration/test_command_line.py"
EXPECTED = "integration/test_expected_files.py"
TRIGGERS = "integration/test_trigger_file.py"
AWAITED = "unit/test_awaited.py"
PULLED_TRIGGERS = "unit/test_pulled_triggers.py"
ANNOUNCEMENT = "unit/test_announcement.py"
CHECKSUMS = "integration/test_checksum_file.py"
LASTS = "unit/test_lasts.py"

MUTANTS = (
    Mutant(
        "liars: what was not renamed is not marked",
        "engine/sftp/replace.py",
        '            if still := await self._why_undone("rename", old, new, before):\n',
        "            if still := None:\n",
        _only(LIARS, "not_renamed and asyncio"),
    ),
    Mutant(
        "liars: of RENAME and posix-rename one may lie",
        "engine/sftp/replace.py",
        "        if session.is_openssh or how in session.traits.are_done:\n",
        "        if session.is_openssh or session.traits.are_done:\n",
        _only(ODD, "posix-rename and nothing and delete and asyncio"),
    ),
    Mutant(
        "liars: a newer file under the old name is no rename undone",
        "engine/sftp/replace.py",
        "        if before is not None and after.differs(before):\n",
        "        if False:\n",
        _only(LIARS, "newer_file_that_comes and asyncio"),
    ),
    Mutant(
        "liars: what can be moved is not believed where nothing is renamed",
        "engine/movable.py",
        "    return await _why_not_with_a_file(session, path, moved, None)\n",
        "    return None\n",
        _only(LIARS, "before_the_upload and asyncio"),
    ),
    Mutant(
        "liars: what was not removed has not been deleted",
        "engine/sftp/session.py",
        "        if is_seen:\n",
        "        if False:\n",
        _only(LIARS, "not_removed and asyncio"),
    ),
    Mutant(
        "liars: a file and a directory of one name",
        "engine/sftp/entries.py",
        '                    elif {first.kind, entry.kind} == {"file", "directory"}:\n',
        "                    elif False:\n",
        _only(LIARS, "of_one_name and asyncio"),
    ),
    Mutant(
        "liars: names behind the end of a directory count",
        "engine/sftp/entries.py",
        "behind = [] if in_order else await _behind_the_end(asked[number:])",
        "behind: list[Entry] | None = []",
        _only(ODD, "order and keep and asyncio"),
    ),
    Mutant(
        "liars: an mtime of 0 is not known",
        "engine/listing.py",
        "if self.min_age and (not entry.stat.mtime or",
        "if self.min_age and (entry.stat.mtime is None or",
        _only(LIARS, "stands_still and asyncio"),
    ),
    Mutant(
        "liars: nor is it a sign that nothing has changed",
        "engine/done.py",
        "                elif not (there.mtime and uploaded.seen.mtime):\n",
        "                elif there.mtime is None or uploaded.seen.mtime is None:\n",
        _only(LIARS, "of_mtime_0 and asyncio"),
    ),
    Mutant(
        "liars: where no mtime tells, the contents do",
        "engine/done.py",
        "                if (is_known and not there",
        "                if (True and not there",
        _only(LIARS, "no_mtime_tells and asyncio"),
    ),
    Mutant(
        "liars: a directory that is there is not gone",
        "engine/sftp/session.py",
        "            if await self.sees(path):\n                raise ServerRefused(",
        "            if False:\n                raise ServerRefused(",
        _only(LIARS, "directory_that_is_there and asyncio"),
    ),
    Mutant(
        "liars: a file that is there is not gone",
        "engine/pull.py",
        "            elif await self.session.sees(file.path):\n",
        "            elif False:\n",
        _only(LIARS, "file_that_is_there and asyncio"),
    ),
    Mutant(
        "liars: a done directory is one by any name",
        "engine/listing.py",
        "        if len(spelled) != 1 or spelled[0].name == self.done_name:\n",
        "        if True:\n",
        _only(LIARS, "listed_by_another_name and asyncio"),
    ),
    Mutant(
        "liars: names that come late count",
        "engine/sftp/session.py",
        "            if entries is None:\n",
        "            if False:\n",
        _only(LIARS, "names_that_come_late and asyncio"),
    ),
    Mutant(
        "a rename whose answer is lost has its name in the done directory",
        "engine/done.py",
        "pulled.deleting or paths.deleting_name(name)",
        "paths.deleting_name(name)",
        _only(DELETES, "answer_is_lost"),
    ),
    Mutant(
        "what cannot be read in the done directory goes back",
        "engine/done.py",
        "                    if not isinstance(failed, NotFound):",
        "                    if not isinstance(failed, ServerRefused):",
        _only(GUARDS, "cannot_be_read"),
    ),
    Mutant(
        "OpenSSH may serve what is not a disk",
        "engine/done.py",
        "await self._session.rename_sets_mtime(done)",
        "False",
        _only(NO_RENAME, "openssh_in_front"),
    ),
    Mutant(
        "drop boxes: what is taken at its close needs no mode",
        "engine/delivery.py",
        "                    if self._looks:\n                        raise\n",
        "                    raise\n",
        _only(DROP_BOXES, "no_mode_and_no_mtime"),
    ),
    Mutant(
        "liars: a listing tells what nothing else does",
        "engine/done.py",
        "                if deletes and there.mtime is None:",
        "                if False:",
        _only(LIARS, "only_listings_tell and asyncio"),
    ),
    Mutant(
        "liars: STAT where there is no LSTAT",
        "engine/sftp/session.py",
        "            self.traits.has_lstat = False\n            return attributes\n",
        "            raise refused\n",
        _only(LIARS, "looks_at_no_link and asyncio"),
    ),
    Mutant(
        "liars: what is in the way is told, and no advice beside it",
        "engine/delivery.py",
        "            if refused.is_in_the_way:\n",
        "            if False:\n",
        _only(LIARS, "in_the_way and asyncio"),
    ),
    Mutant(
        "shards: what is beside a done directory that is gone is there",
        "engine/listing.py",
        "        except NotFound:\n            return None\n",
        "        except KeyError:\n            return None\n",
        _only(SHARDS, "just_gone"),
    ),
    Mutant(
        "purge: what its listing calls old may be young",
        "engine/purge.py",
        "((await self._done.look(path)).mtime or 0) >= self._purged_before",
        "False",
        _only(PURGES, "other_mtimes and asyncio"),
    ),
    Mutant(
        "purge: what is set is what is there",
        "engine/purge.py",
        "                self._mtimes_stick = mtime < there <= mtime + 3\n",
        "                self._mtimes_stick = there != mtime\n",
        _only(PURGES, "always_the_same and asyncio"),
    ),
    Mutant(
        "awaited: no file gets the key of what is beside another one",
        "engine/keys.py",
        "if self._kinds is not None and (kind :=",
        "if False and (kind :=",
        _only(TRIGGERS, "no_file_and_no_trigger_is_written_over"),
    ),
    Mutant(
        "awaited: no trigger gets the key of another one",
        "engine/pulled_triggers.py",
        "            self._keys.take(self.key_beside(trigger, pulled.key), trigger.file)\n",
        "            self.key_beside(trigger, pulled.key)\n",
        _only(TRIGGERS, "no_file_and_no_trigger_is_written_over"),
    ),
    Mutant(
        "awaited: what is outside the bounds is not waited for",
        "engine/pulled_triggers.py",
        " and self._tree.bounds.reason_to_skip(*stat) is None",
        "",
        _only(TRIGGERS, "left_alone"),
    ),
    Mutant(
        "given files: none in a done directory",
        "engine/pull.py",
        'if self.tree.done_name in relative.split(b"/"):',
        "if False:",
        ("tests/integration/test_sftp_paths.py", "-k", "not_pulled_again"),
    ),
    Mutant(
        "triggers: no unfinished file looks like one",
        "engine/settings.py",
        "if unfinished and TriggerNames(template, argument).is_trigger(unfinished):",
        "if False:",
        ("tests/unit/test_settings.py", "-k", "temp_name"),
    ),
    Mutant(
        "triggers: what comes into one directory is in one batch",
        "operators/s3_unsynced.py",
        "place_of = posixpath.dirname if settings.trigger_file is not None else bytes",
        "place_of = bytes",
        _only(TRIGGERS, "several_go_at_once"),
    ),
    Mutant(
        "totals: only of a try that has ended by itself",
        "transfers/totals.py",
        ' or found.get("try") != number - 1',
        "",
        ("tests/unit/test_totals.py", "-k", "killed"),
    ),
    Mutant(
        "awaited: a trigger is not older than its file",
        "engine/awaited.py",
        "            elif not self._sums and is_older(trigger.file.stat, file.stat):\n",
        "            elif False:\n",
        _only(AWAITED, "not_older"),
    ),
    Mutant(
        "awaited: nobody may still be writing it",
        "engine/awaited.py",
        "            if stamp is not None and self._is_young(stamp):\n",
        "            if False:\n",
        _only(AWAITED, "not_older"),
    ),
    Mutant(
        "awaited: what is not taken holds the trigger back",
        "engine/awaited.py",
        '            if isinstance(item, Outcome) and (item.left or item.status == "failed"):\n',
        "            if False:\n",
        _only(AWAITED, "holds_the_trigger"),
    ),
    Mutant(
        "awaited: the trigger is stored after all",
        "engine/pulled_triggers.py",
        "if not self._keeps and not trigger.unstored - {pulled.file.path}:",
        "if not self._keeps:",
        _only(PULLED_TRIGGERS, "any_order"),
    ),
    Mutant(
        "awaited: and moved after all",
        "engine/pulled_triggers.py",
        "elif trigger.stored is not None and not trigger.unmoved:",
        "elif trigger.stored is not None:",
        _only(PULLED_TRIGGERS, "any_order"),
    ),
    Mutant(
        "awaited: a file that has changed since stays",
        "engine/pulled_triggers.py",
        "        if is_older(trigger.file.stat, uploaded.read):\n",
        "        if False:\n",
        _only(PULLED_TRIGGERS, "newer_than"),
    ),
    Mutant(
        "awaited: the file stays whose trigger was taken away",
        "engine/pulled_triggers.py",
        "if await self._tree.session.exists(pulled.file.path):",
        "if False:",
        _only(PULLED_TRIGGERS, "taken_away"),
    ),
    Mutant(
        "awaited: a trigger alone goes only where S3 has its file",
        "engine/pulled_triggers.py",
        "key = None if is_waited_for else await self._key_of_its_file(pulled.file)",
        "key = None if is_waited_for else paths.key_for(self._prefix, pulled.file.relative)",
        _only(TRIGGERS, "file_is_gone and Asyncssh"),
    ),
    Mutant(
        "awaited: since the trigger was made",
        "engine/pulled_triggers.py",
        "if modified is None or modified < trigger.stat.mtime:",
        "if False:",
        _only(TRIGGERS, "still_to_come"),
    ),
    Mutant(
        "awaited: a trigger's name is no path",
        "engine/awaited.py",
        "            check_name(entry.name)\n",
        "            pass\n",
        _only(AWAITED, "no_path"),
    ),
    Mutant(
        "awaited: from this destination",
        "engine/pulled_triggers.py",
        "if version is not None and self._naming.token(entry.key) in names_in_metadata(version):",
        "if version is not None:",
        _only(TRIGGERS, "file_is_gone and Asyncssh"),
    ),
    Mutant(
        "awaited: shards keep directories together",
        "engine/paths.py",
        "path = posixpath.dirname(path) if self.by_directory else path",
        "path = path",
        _only(TRIGGERS, "directories_together"),
    ),
    Mutant(
        "triggers: an old one is away before new data comes",
        "engine/announcement.py",
        "            await session.remove(path)\n",
        "            pass\n",
        _only(ANNOUNCEMENT, "last_of_several"),
    ),
    Mutant(
        "triggers: none is made while a file of its is missing",
        "engine/announcement.py",
        "if not trigger.unfinished - {key} and trigger.is_due:",
        "if trigger.is_due:",
        _only(ANNOUNCEMENT, "last_of_several"),
    ),
    Mutant(
        "triggers: none is made where nothing was delivered",
        "engine/announcement.py",
        "if not trigger.unfinished - {key} and trigger.is_due:",
        "if not trigger.unfinished - {key}:",
        _only(ANNOUNCEMENT, "nothing_is_delivered"),
    ),
    Mutant(
        "triggers: what is sent again is missing again",
        "engine/announcement.py",
        "            trigger.unfinished.add(key)\n            await take_away",
        "            await take_away",
        _only(ANNOUNCEMENT, "last_of_several"),
    ),
    Mutant(
        "triggers: one that may be there is in the way",
        "engine/announcement.py",
        "        if looks:\n",
        "        if False:\n",
        _only(ANNOUNCEMENT, "nobody_may_look"),
    ),
    Mutant(
        "triggers: none before its file",
        "engine/publication.py",
        "            await self._triggers.withdraw(trigger, pushed.key)\n",
        "            await self._triggers.delivered(trigger, pushed.key)\n",
        _only(TRIGGERS, "a_file_has_failed"),
    ),
    Mutant(
        "triggers: a file that stays keeps its own",
        "engine/publication.py",
        "        if self.may_be_taken(pushed) and await self._delivery.is_taken(path):\n",
        "        if False:\n",
        _only(TRIGGERS, "comes_meanwhile"),
    ),
    Mutant(
        "triggers: none is another file's name",
        "engine/places.py",
        "(kind := self._beside.kind_of(paths.text(posixpath.basename(path))))",
        "(kind := None)",
        _only(CHECKSUMS, "takes_the_name"),
    ),
    Mutant(
        "awaited: shards keep directories together by their names in S3",
        "engine/listing.py",
        'not self._is_mine(posixpath.join(relative, b"any"), Entry(b"any", "file", Stat(0, 0)))',
        'not self.shard.holds(posixpath.join(relative, b"any"))',
        _only(CHECKSUMS, "directories_together"),
    ),
    Mutant(
        "checksum files: a small file with another sum is not stored",
        "engine/fetch.py",
        "                pulled.wanted.check_all(reading.pieces)\n",
        "                pass\n",
        _only(CHECKSUMS, "taken_with_its_sum and Asyncssh"),
    ),
    Mutant(
        "checksum files: nor is a large one completed",
        "engine/fetch.py",
        "                pulled.wanted.check(running)\n",
        "                pass\n",
        _only(CHECKSUMS, "large_file and move"),
    ),
    Mutant(
        "checksum files: S3 gets the one that the file was compared with",
        "engine/pulled_triggers.py",
        "keeps_key=True, wanted=trigger.wanted)",
        "keeps_key=True)",
        _only(CHECKSUMS, "after_it_was_read"),
    ),
    Mutant(
        "checksum files: one that is taken away is waited for",
        "engine/pulled_sums.py",
        "            if await session.exists(pulled.file.path):\n",
        "            if False:\n",
        _only("unit/test_pulled_sums.py", "that_is_gone"),
    ),
    Mutant(
        "checksum files: a file of unknown sum does not stay in the done directory",
        "engine/done.py",
        "                    if not isinstance(failed, NotFound):",
        "                    if False:",
        _only(CHECKSUMS, "turns_up_in_the_done"),
    ),
    Mutant(
        "checksum files: one that is endless is not read",
        "engine/pulled_sums.py",
        "        if reading.count > MAX_BYTES or not reading.ended:\n",
        "        if False:\n",
        _only("unit/test_pulled_sums.py", "too_large"),
    ),
    Mutant(
        "checksum files: of several sums, the one of the file",
        "engine/checksum_files.py",
        "    if len(sums) > 1:\n        sums = ",
        "    if len(sums) > 1:\n        ",
        _only("unit/test_checksum_files.py", "coreutils_write"),
    ),
    Mutant(
        "checksum files: an old one is away before new data comes",
        "engine/publication.py",
        "            await self._sums.withdraw(path)\n",
        "            pass\n",
        _only("unit/test_publication.py", "test_the_order"),
    ),
    Mutant(
        "checksum files: it comes before the trigger, and the mark",
        "engine/publication.py",
        "            await self._sums.write(path, version, running)\n",
        "            pass\n",
        _only("unit/test_publication.py", "test_the_order"),
    ),
    Mutant(
        "last: not before all others are settled",
        "engine/lasts.py",
        "            await self._wait()\n",
        "            pass\n",
        _only(LASTS, "none_goes_before"),
    ),
    Mutant(
        "last: what is unfinished holds it back",
        "engine/lasts.py",
        "        if not is_done:\n",
        "        if False:\n",
        _only(LASTS, "none_goes_before"),
    ),
    Mutant(
        "last: in all directories above, too",
        "engine/lasts.py",
        "            self._unfinished.add(directory)\n            directory = directory_of(directory)\n",
        "            self._unfinished.add(directory)\n            return\n",
        _only(LASTS, "none_goes_before"),
    ),
    Mutant(
        "last: the deepest directories first",
        "engine/lasts.py",
        "key=_depth, reverse=True)",
        "key=_depth)",
        _only(LASTS, "none_goes_before"),
    ),
    Mutant(
        "last: those of one directory do not wait for each other",
        "engine/lasts.py",
        "        if not self._is_last(name):\n",
        "        if True:\n",
        _only(LASTS, "does_not_find"),
    ),
    Mutant(
        "last: one that comes while the run looks for files waits",
        "engine/lasts.py",
        "item.changed > newest):",
        "False):",
        _only(LASTS, "none_goes_before"),
    ),
    Mutant(
        "last: a run by keys looks for others",
        "engine/push.py",
        "options=options) if settings.keys else None",
        "options=options) if False else None",
        _only("integration/test_last.py", "by_keys"),
    ),
    Mutant(
        "last: what is over a cap is not done",
        "engine/run.py",
        "settled(item, not waits)",
        "settled(item, True)",
        _only("unit/test_run.py", "settled_once"),
    ),
    Mutant(
        "last: what a dry run would move is",
        "engine/model.py",
        "(self.left and not self.target)",
        "self.left",
        _only("unit/test_run.py", "settled_once"),
    ),
    Mutant(
        "last: what is young, or cannot be listed, is not",
        "engine/listing.py",
        "isinstance(item, Outcome) and item.is_unfinished:",
        "False:",
        _only("unit/test_listing.py", "unfinished_in_a_directory"),
    ),
    Mutant(
        "last: no other task has some of its directory",
        "engine/settings.py",
        "if settings.last is not None and paths.Shard.of(settings.shard).count > 1:",
        "if False:",
        _only("unit/test_settings.py", "of_a_pull and last"),
    ),
    Mutant(
        "last: nor do flows give it some",
        "flows/rules.py",
        'flow["parallelism"] > 1 and "last" in flow,',
        "False,",
        _only("unit/test_flows.py", "last_files_of_a_pull"),
    ),
    Mutant(
        "last: it is in one batch with all that it waits for",
        "operators/batches.py",
        "            if directory in directories:\n",
        "            if False:\n",
        _only("unit/test_unsynced_batches.py", "last_object"),
    ),
    Mutant(
        "triggers: a directory is in one batch",
        "operators/batches.py",
        "        batches[-1] += several\n",
        "        batches += [[key] for key in several]\n",
        _only("unit/test_unsynced_batches.py", "two_batches"),
    ),
    Mutant(
        "triggers: of a list that is cut, no directory is",
        "operators/batches.py",
        'and not last.startswith(f"{name}/")]\n',
        "]\n",
        _only("unit/test_unsynced_batches.py", "two_batches"),
    ),
    Mutant(
        "flows: keys of one path are in one batch",
        "operators/batches.py",
        "first.setdefault(path, number)].append(key)",
        "number].append(key)",
        _only("integration/test_flow_dags.py", "two_keys_that_come"),
    ),
    Mutant(
        "flows: what can never go rings for nobody",
        "sensors/s3_unsynced.py",
        "if_all_refused=is_over",
        "if_all_refused=True",
        _only("integration/test_flow_dags.py", "never_go"),
    ),
    Mutant(
        "flows: what can never go takes no place of others",
        "operators/s3_unsynced.py",
        "                        if entry.is_refused:\n",
        "                        if False:\n",
        _only("integration/test_flow_dags.py", "never_go or no_database"),
    ),
    Mutant(
        "what can never go is not retried",
        "engine/transfer.py",
        "if self.report.failed_for_good == self.report.failed:",
        "if False:",
        _only("integration/test_operators.py", "never_be"),
    ),
    Mutant(
        "a failure that a retry may mend is retried beside one that none can",
        "engine/transfer.py",
        "if self.report.failed_for_good == self.report.failed:",
        "if self.report.failed_for_good:",
        _only("integration/test_operators.py", "never_be"),
    ),
    Mutant(
        "flows: a run that has lost shards is not green",
        "operators/assets.py",
        "if self.whole and (missing",
        "if False and (missing",
        _only("unit/test_assets.py", "shards"),
    ),
    Mutant(
        "a file that was stamped when the line was cut is no other one",
        "engine/done.py",
        "is_stamped = pulled.stamp is not None and there.mtime == pulled.stamp",
        "is_stamped = False",
        _only(PULL, "stamp_was_not_answered"),
    ),
    Mutant(
        "what failed when nobody waited is begun anew",
        "engine/tasks.py",
        "if task is None or has_failed(task):",
        "if task is None:",
        _only("unit/test_tasks.py", "begins_anew"),
    ),
    Mutant(
        "nothing is stored that could not be moved",
        "engine/fetch.py",
        "                await pulled.may_be_stored()\n            if self",
        "                pass\n            if self",
        _only("faults/test_no_rename.py", "test_"),
    ),
    Mutant(
        "an archived object is left alone",
        "engine/push.py",
        "        if version.is_archived:\n            return self._archived()\n",
        "",
        _only("integration/test_objects.py", "archive"),
    ),
    # --- on duty
    Mutant(
        "metrics that cannot be sent fail no task",
        "transfers/metrics.py",
        "    except Exception as failed:",
        "    except ImportError as failed:",
        _only(DUTY, "cannot_be_sent"),
    ),
    Mutant(
        "the end of the log has no traceback of ours",
        "transfers/base.py",
        "else failed.with_traceback(None)",
        "else failed",
        _only(DUTY, "no_traceback"),
    ),
    Mutant(
        "what is not known of one mapped task is not known of all",
        "transfers/assets.py",
        "None if None in files else sum(files)",
        "sum(each or 0 for each in files)",
        _only("unit/test_assets.py", "not_known"),
    ),
    Mutant(
        "a flow that cannot be looked at is behind",
        "flows/status.py",
        "return Waiting(*about, error=str(failed), behind=True)\n        report, error",
        "return Waiting(*about, error=str(failed))\n        report, error",
        _only(COMMAND_LINE, "what_is_behind"),
    ),
    Mutant(
        "a test of a connection writes nothing that nobody has asked for",
        "hooks/connection_test.py",
        "        if not writes:\n",
        "        if False:\n",
        _only(COMMAND_LINE, "sftp_connection_step"),
    ),
    Mutant(
        "settings in the documentation have no arguments of notifiers",
        "flows/docs.py",
        '        value = _notifiers(flow) if name == "notify" else flow.get(name)\n',
        "        value = flow.get(name)\n",
        _only("unit/test_flow_fields.py", "no_secret"),
    ),
    # --- expected files
    Mutant(
        "what is missing fails",
        "operators/expected_files.py",
        "if len(found) < self.at_least:",
        "if False:",
        _only(EXPECTED, "counts_what_has_come"),
    ),
    Mutant(
        "what is older does not count",
        "operators/expected_files.py",
        "if written > since.timestamp():",
        "if True:",
        _only(EXPECTED, "counts_what_has_come"),
    ),
    Mutant(
        "each time is due in one run",
        "operators/expected_files.py",
        "        until = end.astimezone(zone).replace(tzinfo=None)\n",
        "        until = end.astimezone(zone).replace(tzinfo=None, fold=0) - timedelta(hours=1)\n",
        _only(EXPECTED, "clocks_change"),
    ),
    Mutant(
        "no other flow has the name of the Dag of expected files",
        "flows/file.py",
        "clashes = [(each, taken[each.lower()]) for each in dags if each.lower() in taken]",
        "clashes = [(each, taken[each.lower()]) for each in dags[:1] if each.lower() in taken]",
        _only(EXPECTED, "no_other_flow"),
    ),
    # --- receipts
    Mutant(
        "no file is moved before S3 has taken a receipt",
        "engine/transfer.py",
        "            await self.receipts.begin()\n",
        "            pass\n",
        _only(RECEIPTS, "takes_no_receipts"),
    ),
    Mutant(
        "a refused receipt ends the run before the first byte",
        "engine/s3/receipts.py",
        "if isinstance(refused, S3Refused) and not refused.passes:",
        "if False:",
        _only(RECEIPTS, "takes_no_receipts"),
    ),
    Mutant(
        "a receipt that may be taken later holds up no file",
        "engine/s3/receipts.py",
        "if isinstance(refused, S3Refused) and not refused.passes:",
        "if True:",
        _only(RECEIPTS, "outage_at_the_beginning"),
    ),
    Mutant(
        "lines that were not written fail the run",
        "engine/transfer.py",
        "        if self.receipts.lost:\n            raise TransferError(",
        "        if False:\n            raise TransferError(",
        _only(RECEIPTS, "no_file_is_lost"),
    ),
    Mutant(
        "what S3 does not take waits on",
        "engine/s3/receipts.py",
        "                    self._refused = failed\n                    return\n",
        "                    self._refused = failed\n",
        _only(RECEIPTS, "no_file_is_lost"),
    ),
    Mutant(
        "a file is told of once over the tries",
        "engine/s3/receipts.py",
        "return self.earlier is None or (self._told is not None and hash(source) in self._told)",
        "return False",
        _only(RECEIPTS, "a_retry_knows or nobody_knows"),
    ),
    Mutant(
        "a receipt is never written over",
        "engine/s3/receipts.py",
        "self._next_number = max(taken, default=0) + 1",
        "pass",
        _only(RECEIPTS, "writes_over_nothing"),
    ),
    Mutant(
        "what is still to be moved away is not recovered",
        "engine/pull.py",
        "or (not keeps and await self.session.exists(path))",
        "",
        _only(RECEIPTS, "others_have_stored"),
    ),
    Mutant(
        "what others have stored is not recovered",
        "engine/pull.py",
        "if version is None or is_ours(entry.key) not in names_in_metadata(version):",
        "if version is None:",
        _only(RECEIPTS, "others_have_stored"),
    ),
    Mutant(
        "receipts are not among the files of their own run",
        "engine/settings.py",
        "        if overlap:\n",
        "        if False:\n",
        _only(RECEIPTS, "a_place_that_cannot_be"),
    ),
    Mutant(
        "receipts are not among the files of another flow",
        "flows/places.py",
        "    _look_at_receipts(flows, found)\n",
        "",
        _only(PLACES, "receipts_are_beneath"),
    ),
    # --- pull: what was read is what is stored
    Mutant(
        "changed while reading: before and after",
        "engine/whole.py",
        '    if before.differs(after):\n        return "changed"\n',
        "",
        _only(GUARDS, "changes_while_it_is_read"),
    ),
    Mutant(
        "a file is whole at the largest size that is stated only",
        "engine/whole.py",
        "    if count < stated:",
        "    if False:",
        _only(GUARDS, "ends_before_its_size"),
    ),
    Mutant(
        "a file is whole where the server says that it ends only",
        "engine/whole.py",
        "if not ended or count > stated:",
        "if count > stated:",
        _only(ODD, "wrong_and_missing_sizes"),
    ),
    Mutant(
        "a size that was stated is given up for a newer version only",
        "engine/whole.py",
        "if not _is_newer(seen, expected) and expected.size is not None:",
        "if False:",
        _only("unit/test_whole.py", "given_up_for_a_newer"),
    ),
    Mutant(
        "a file of a wrong size must stand still",
        "engine/fetch.py",
        "and to_the_end and await self._stands_still(file, reading):",
        "and to_the_end:",
        _only(ODD, "grows_is_not_taken"),
    ),
    Mutant(
        "an error is the end of a file only where all sizes agree",
        "engine/fetch.py",
        "if not expected.size == reading.before.size == reading.after.size == count:",
        "if False:",
        _only(ODD, "nobody_knows_the_end"),
    ),
    Mutant(
        "nothing is closed that S3 has not got",
        "engine/sftp/session.py",
        "if file.is_stored or self.outlive_close(path):",
        "if True:",
        _only(ODD, "stays_in_a_mailbox"),
    ),
    Mutant(
        "files are closed early only where one has outlived it",
        "engine/sftp/traits.py",
        "return bool(self._outlived) and (is_openssh or directory_of(path) in self._outlived)",
        "return bool(self._outlived)",
        _only(ODD, "outlived_it"),
    ),
    Mutant(
        "what lies in the done directory is not put over what S3 has",
        "engine/done.py",
        "return await self._end_moved(pulled, done, uploaded) if again else uploaded",
        "self._fetcher.was_there_after_close(b'', uploaded)",
        _only(MIXTURES, "test_a_pull and move"),
    ),
    Mutant(
        "what is never stated twice alike has failed, and is not young",
        "engine/done.py",
        " or there == before:",
        ":",
        _only(MIXTURES, "test_a_pull and move"),
    ),
    Mutant(
        "a name that is alike is looked for before it is taken",
        "engine/naming.py",
        "            if self.note(path):\n",
        "            if False:\n",
        _only(MIXTURES, "test_a_push and tag"),
    ),
    Mutant(
        "where handles repeat, one file is open at a time",
        "engine/sftp/session.py",
        "            self.handles.only_one()\n",
        "",
        _only(ODD, "goes_on_one_by_one"),
    ),
    Mutant(
        "a connection that is opened when the run has ended is closed",
        "engine/sftp/session.py",
        "            if self._ended:  # meanwhile, and nobody would close it\n",
        "            if False:\n",
        _only("unit/test_sftp_session.py", "when_the_run_ends"),
    ),
    Mutant(
        "a CLOSE that was lost with its connection shows nothing",
        "engine/fetch.py",
        "if uploaded.closed_on == self._session.connection:",
        "if True:",
        _only(ODD, "moved_on_a_new_connection"),
    ),
    Mutant(
        "no such file, of one that was opened, is not gone",
        "engine/pull.py",
        "elif pulled.opened:",
        "if False:",
        _only(ODD, "vanishes_once_it_was_open"),
    ),
    Mutant(
        "no such file, from a file that is open, is not gone",
        "engine/sftp/session.py",
        'raise ServerRefused(f"{denied}, though the server has opened it") from None',
        "raise",
        _only(ODD, "no_such_file_after_open"),
    ),
    Mutant(
        "a rename that sets the mtime is not a file that is still being written",
        "engine/done.py",
        "if not same and self._fetcher.is_young(there):",
        "if self._fetcher.is_young(there):",
        _only(ODD, "odd_server_is_pulled and sets"),
    ),
    Mutant(
        "an fsync that has worked and fails is the file's failure",
        "engine/sftp/session.py",
        "            if self.traits.has_fsync:\n                raise\n",
        "",
        _only(ODD, "disk_that_fails"),
    ),
    Mutant(
        "one handle for two files voids both",
        "engine/sftp/protocol.py",
        "if handle in self._handles:",
        "if False:",
        _only(ODD, "handles_repeat"),
    ),
    Mutant(
        "what is left to be deleted is in S3 first",
        "engine/pull.py",
        "if file.left and (own is not None or await self._done.is_stored(pulled.key, stat)):",
        "if file.left:",
        _only(DELETES, "uploaded_from_there"),
    ),
    Mutant(
        "a newer file waits for one that is left",
        "engine/listing.py",
        "elif relative in held_back:",
        "elif False:",
        _only(DELETES, "newer_file_waits"),
    ),
    Mutant(
        "only what a run with delete has renamed is deleted",
        "engine/listing.py",
        'if entry.kind == "file" and paths.is_deleting(entry.name)]',
        'if entry.kind == "file"]',
        _only(DELETES, "archive"),
    ),
    Mutant(
        "no purge by a wrong clock",
        "engine/done.py",
        "if clock is not None and clock.is_right:",
        "if True:",
        _only(PURGES, "a_year_ahead"),
    ),
    Mutant(
        "no purge in a run in which all failed",
        "engine/purge.py",
        "return self._done.may_stamp() and not (report.failed and not report.transferred)",
        "return self._done.may_stamp()",
        _only(PURGES, "all_failed"),
    ),
    Mutant(
        "no purge where mtimes do not stick",
        "engine/purge.py",
        "self._mtimes_stick = mtime < there <= mtime + 3",
        "self._mtimes_stick = True",
        _only(PURGES, "do_not_stick"),
    ),
    Mutant(
        "no purge of what was never stamped",
        "engine/purge.py",
        "if not is_stamped or paths",
        "if paths",
        _only(PURGES, "never_stamped"),
    ),
    Mutant(
        "changed while reading: multipart uploads",
        "engine/fetch.py",
        "            await self._check()\n            raise",
        "            raise",
        _only("faults/test_s3_faults.py", "multipart_upload_of_a_file_that_changes"),
    ),
    Mutant(
        "a file that has changed since it was listed must be of age again",
        "engine/fetch.py",
        "                    if self.is_young(look.seen):\n                        return None\n",
        "",
        _only(PULL, "future_get_two_looks"),
    ),
    Mutant(
        "the look at what the move has brought into .done",
        "engine/done.py",
        "if (is_known and not there.differs(uploaded.seen)) or there == before:",
        "if True:",
        _only(CHANGES, "small_file_changes and POSIX-RENAME and replace and not same_size"),
    ),
    Mutant(
        "a file in .done that is still being written goes back",
        "engine/done.py",
        "if not same and self._fetcher.is_young(there):",
        "if False:",
        _only(GUARDS, "still_being_written"),
    ),
    Mutant(
        "a file that goes back never takes a newer one's place",
        "engine/done.py",
        "if not await self._session.exists(path):\n            await self._session.rename(done, path)",
        "if True:\n            await self._session.replace(done, path)",
        _only(GUARDS, "goes_back"),
    ),
    Mutant(
        "what could not be moved is not uploaded",
        "engine/pull.py",
        "if not keeps and not file.left:",
        "if False:",
        _only(NO_RENAME, "cannot_be_moved"),
    ),
    Mutant(
        "what is removed in its place is the file that was read",
        "engine/done.py",
        "if there.differs(uploaded.seen) and there != before:",
        "if False:",
        _only(NO_RENAME, "before_it_is_removed"),
    ),
    Mutant(
        "a file of no known mtime is not removed in its place",
        "engine/done.py",
        "elif not (there.mtime and uploaded.seen.mtime):",
        "elif False:",
        _only(NO_RENAME, "without_an_mtime"),
    ),
    Mutant(
        "min_age",
        "engine/listing.py",
        "return min_age > 0 and now - (mtime + 1) < min_age",
        "return False",
        _only(PULL, "young_files_wait"),
    ),
    Mutant(
        "two looks at a file from the future",
        "engine/listing.py",
        "if self.min_age and (not entry.stat.mtime or entry.stat.mtime > now + self.min_age):",
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
        "engine/purge.py",
        "await self._session.set_mtime(path, mtime)\n        return",
        "return",
        _only(GUARDS, "not_stamped"),
    ),
    Mutant(
        "retention counts from the transfer",
        "engine/done.py",
        "await self._session.set_mtime(done, pulled.stamp)",
        "pass",
        _only(PULL, "retention_counts"),
    ),
    Mutant(
        "links and FIFOs are not read",
        "engine/listing.py",
        'elif entry.kind != "file" and not follows:',
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
    Mutant(
        "a link does not lead round in circles",
        "engine/listing.py",
        "if real is not None and any(_is_in(real, each) for each in beside.trail):",
        "if False:",
        _only(LINKS, "ends_where_it_begins and Asyncssh"),
    ),
    Mutant(
        "what is done behind a link is another tree's",
        "engine/listing.py",
        " and len(directory.trail) <= 1:",
        ":",
        _only(LINKS, "behind_a_link"),
    ),
    # --- pull: uploads that were left
    Mutant(
        "left uploads: of this key only",
        "engine/s3/left_uploads.py",
        'found["Key"] != key or',
        "",
        _only(LEFT, "another_key"),
    ),
    Mutant(
        "left uploads: of this Dag run only",
        "engine/s3/left_uploads.py",
        " or begun < self._since:",
        ":",
        _only(LEFT, "before_the_dag_run"),
    ),
    Mutant(
        "left uploads: not one that goes on",
        "engine/s3/left_uploads.py",
        'if parsedate_to_datetime(listed.headers["Date"]) - newest > SILENT:',
        "if True:",
        _only(LEFT, "goes_on"),
    ),
    Mutant(
        "several sessions write one file only where the server shares files",
        "engine/sftp/file.py",
        " and self._session.is_openssh",
        "",
        _only("integration/test_far_away.py", "may_not_share"),
    ),
    Mutant(
        "a file is closed while it is read only where requests are done in their order",
        "engine/sftp/session.py",
        "return self.is_openssh and self.traits.answers_whole and",
        "return self.traits.answers_whole and",
        _only("integration/test_far_away.py", "closed_while"),
    ),
    Mutant(
        "a file that was closed before its end was read is read again",
        "engine/fetch.py",
        "if early and not self._session.closes_early(file.path):",
        "if False:",
        _only("integration/test_far_away.py", "leave_something_out"),
    ),
    # --- push: what is published is whole
    Mutant(
        "the size of what was written",
        "engine/delivery.py",
        "if written != size or (self._looks and stored != size):",
        "if False:",
        _only(GUARDS, "not_all_there"),
    ),
    Mutant(
        "the size of what was written, where only its name tells",
        "engine/delivery.py",
        "stored = await self._size_by_name(file.path)",
        "stored = size",
        _only(DROP_BOXES, "short_by_its_name"),
    ),
    Mutant(
        "half a file under its name is removed before it is written again",
        "engine/delivery.py",
        'failed.args = (f"{failed}; {await self._remove_half(path)}",)',
        "self._session.discard(path)",
        _only(DROP_BOXES, "begun_again"),
    ),
    Mutant(
        "what could not be opened is not removed",
        "engine/delivery.py",
        "            if is_ours:\n                # At once",
        "            if True:\n                # At once",
        _only(DROP_BOXES, "cannot_be_opened"),
    ),
    Mutant(
        "a server that is full is left alone",
        "engine/run.py",
        "if self._full >= MAX_FULL and not self.stopped:",
        "if False:",
        _only(RUN, "seems_to_be_full"),
    ),
    Mutant(
        "two keys of a run never have one path",
        "engine/places.py",
        "        if first != key:\n",
        "        if False:\n",
        _only(PUSH, "two_keys_of_one_path"),
    ),
    Mutant(
        "the first of two keys of one path goes, not the faster",
        "engine/places.py",
        "await self._is_of_this_run(namesake):",
        "False:",
        _only(PUSH, "two_keys_of_one_path"),
    ),
    Mutant(
        "a retry leaves to the first key the path that it got",
        "engine/push.py",
        "        if since is None:\n",
        "        if True:\n",
        _only(PUSH, "two_keys_of_one_path"),
    ),
    Mutant(
        "fsync",
        "engine/sftp/file.py",
        "            await self._session.sync(self._sftp, self._handle, self._path)\n",
        "",
        _only(GUARDS, "synced_before"),
    ),
    Mutant(
        "every write is acknowledged, also where all was asked for behind it",
        "engine/sftp/file.py",
        "            await _acknowledged(unanswered, moved)\n            for answer in stored:",
        "            for answer in stored:",
        _only("integration/test_far_away.py", "write_that_fails"),
    ),
    Mutant(
        "a file's size is asked for along with its last bytes only where requests are done in their order",
        "engine/sftp/file.py",
        "        if not self._session.is_openssh:\n            await _ack",
        "        if False:\n            await _ack",
        _only("integration/test_far_away.py", "other_servers_are_waited_for"),
    ),
    Mutant(
        "a move is looked at along with it only where requests are done in their order",
        "engine/sftp/replace.py",
        "        if self._session.is_openssh:\n            sftp =",
        "        if True:\n            sftp =",
        _only("integration/test_far_away.py", "other_servers_are_waited_for"),
    ),
    Mutant(
        "a process that stood still has not waited for the server",
        "engine/sftp/link.py",
        "sent = max(sent, awake_since)",
        "pass",
        _only("faults/test_standstill.py", "goes_on"),
    ),
    Mutant(
        "a process that stood still has not waited for S3",
        "engine/s3/requests.py",
        "                if self.awake.since() > asked:\n",
        "                if False:\n",
        _only("faults/test_standstill.py", "held_against_s3 and List"),
    ),
    Mutant(
        "a process that stood still has not waited for what obstore sends",
        "engine/run.py",
        "if attempt < ATTEMPTS and self._awake.since() > begun:",
        "if False:",
        _only("faults/test_standstill.py", "held_against_s3 and UploadPart"),
    ),
    Mutant(
        "a look that comes late ends a stand-still",
        "engine/standstill.py",
        "if now - self._looked - self.step > self._late:",
        "if False:",
        _only("unit/test_standstill.py", "stood_still"),
    ),
    Mutant(
        "no data are sent during a key exchange",
        "engine/sftp/packets.py",
        "            and connection._kex_complete\n",
        "",
        _only("integration/test_ssh_packets.py", "new_keys"),
        hangs=True,
    ),
    Mutant(
        "no more data than the server may send",
        "engine/sftp/packets.py",
        "len(data) == size <= channel._recv_window",
        "len(data) == size",
        _only("integration/test_ssh_packets.py", "ends_the_connection"),
    ),
    Mutant(
        "no packet is longer than the server may send",
        "engine/sftp/packets.py",
        "            if length > _LONGEST:\n",
        "            if False:\n",
        _only("integration/test_ssh_packets.py", "ends_the_connection and asyncio"),
        hangs=True,
    ),
    Mutant(
        "what is not compressed alone",
        "engine/sftp/packets.py",
        " and not connection._decompressor",
        "",
        _only("integration/test_ssh_packets.py", "compression"),
        hangs=True,
    ),
    Mutant(
        "new keys when they are due",
        "engine/sftp/packets.py",
        "            and connection._rekey_bytes_sent < connection._rekey_bytes\n",
        "",
        _only("integration/test_ssh_packets.py", "new_keys"),
    ),
    Mutant(
        "a nonce for each packet",
        "engine/sftp/packets.py",
        "            raise _NonceError\n",
        "            pass\n",
        _only("integration/test_ssh_packets.py", "stands_still"),
    ),
    Mutant(
        "packets of an asyncssh that was tried alone",
        "engine/sftp/packets.py",
        "if version not in TRIED:",
        "if False:",
        _only("integration/test_ssh_packets.py", "not_tried"),
    ),
    Mutant(
        "no packets where fast_packets is false",
        "engine/sftp/connection.py",
        "server.fast_packets and are_known",
        "are_known",
        _only("integration/test_connections.py", "fast_packets"),
    ),
    Mutant(
        "a temporary name until it is whole",
        "engine/delivery.py",
        "names, temporary = self._names, self._names.path_for(path)",
        "names, temporary = self._names, path",
        _only(GUARDS, "not_all_there"),
    ),
    Mutant(
        "a temporary name of nobody else",
        "engine/temporary.py",
        "{secrets.token_hex(4)}",
        "00000000",
        _only(TEMPORARY, "nobody_else_uses"),
    ),
    Mutant(
        "a retry removes its own temporary files only",
        "engine/temporary.py",
        'owner.encode() + b"[0-9a-f]{8}"',
        'b"[0-9a-f]{16}"',
        _only(PUSH, "earlier_tries"),
    ),
    Mutant(
        "an unfinished file is removed when its transfer fails",
        "engine/delivery.py",
        "                self._session.discard(temporary)\n",
        "",
        _only("faults/test_servers.py", "push and every and write and fails"),
    ),
    Mutant(
        "the removal of an unfinished file is asked for again where the connection is lost",
        "engine/sftp/session.py",
        "for _ in range(DISCARD_TRIES):",
        "for _ in range(1):",
        _only("faults/test_servers.py", "push and cut and twice and remove"),
    ),
    Mutant(
        "without posix-rename: what was moved aside comes back",
        "engine/sftp/replace.py",
        "                await self._move_back(aside, new)\n",
        "",
        _only("faults/test_servers.py", "push and onto and aside"),
    ),
    # --- push: marks
    Mutant(
        "mark: condition on the source",
        "engine/s3/marks.py",
        '                "x-amz-copy-source-if-match": version.etag,\n',
        "",
        _only(GUARDS, "each_condition"),
    ),
    Mutant(
        "mark: condition on the destination",
        "engine/s3/marks.py",
        '                "If-Match": version.etag,\n',
        "",
        _only(GUARDS, "each_condition"),
    ),
    Mutant(
        "days: one that is not over stays",
        "engine/purge.py",
        "return end is not None and end < self._purged_before",
        "return end is not None",
        _only(DAYS, "whole_days"),
    ),
    Mutant(
        "days: what was moved after its day stays",
        "engine/purge.py",
        "if entry.stat.mtime is None or entry.stat.mtime < self._purged_before:",
        "if True:",
        _only(DAYS, "whole_days"),
    ),
    Mutant(
        "days: without a date in done_dir there are none",
        "engine/purge.py",
        "end_of_day(name) if self._is_dated else None",
        "end_of_day(name)",
        _only(DAYS, "without_it"),
    ),
    Mutant(
        "days: a link is none",
        "engine/movable.py",
        'if name == day and kind not in ("directory", "unknown"):',
        "if False:",
        _only(DAYS, "link"),
    ),
    Mutant(
        "a mark is of one key",
        "engine/s3/marks.py",
        '("1", bucket, key, destination)',
        '("1", bucket, destination)',
        _only(PUSH, "copy_to_another_key and metadata"),
    ),
    Mutant(
        "a mark is of one bucket",
        "engine/s3/marks.py",
        '("1", bucket, key, destination)',
        '("1", key, destination)',
        _only(PUSH, "copy_to_another_bucket"),
    ),
    Mutant(
        "a mark is for one destination",
        "engine/s3/marks.py",
        '("1", bucket, key, destination)',
        '("1", bucket, key)',
        _only(MARKS, "came_from_one_partner and metadata"),
    ),
    Mutant(
        "what a ledger knows is of the destinations that a mark names",
        "engine/s3/marks.py",
        'return self.naming.reason_of(fact.key, fact.names.split(","))',
        "return REASON",
        _only(MARKS, "ledger_knows"),
    ),
    Mutant(
        "what a ledger knows is of one version: its ETag",
        "engine/s3/ledger.py",
        " and self.etag == entry.etag.strip('\"')",
        "",
        _only(LEDGER_UNIT, "fact_is_about_one_version"),
    ),
    Mutant(
        "what a ledger knows is of one version: when it was written",
        "engine/s3/ledger.py",
        " and self.modified == entry.modified",
        "",
        _only(LEDGER_UNIT, "fact_is_about_one_version"),
    ),
    Mutant(
        "a ledger takes no ETag and no time for none",
        "engine/s3/ledger.py",
        "        if fact.etag and fact.modified:\n",
        "        if True:\n",
        _only(LEDGER_UNIT, "not_certain"),
    ),
    Mutant(
        "of what two versions have been marked with, the ledger keeps the newer one's",
        "engine/s3/ledger.py",
        "        if (self.etag, self.modified) != (older.etag, older.modified):\n",
        "        if False:\n",
        _only(LEDGER_UNIT, "two_destinations"),
    ),
    Mutant(
        "a store that lists in an order of its own has no ledger",
        "engine/s3/ledger.py",
        "                if entry.key < last:  # this store",
        "                if False:  # this store",
        _only(LEDGER_UNIT, "order_of_its_own"),
    ),
    Mutant(
        "a push that has moved nothing writes no ledger",
        "engine/push.py",
        "            if self.report.transferred:\n",
        "            if True:\n",
        _only(LEDGER, "only_a_run"),
    ),
    Mutant(
        "newer bytes that another flow has marked are sent",
        "engine/s3/marks.py",
        "            if same.isdisjoint((bare(head.etag), *_listed(head, SYNCED_OF))):\n",
        "            if False:\n",
        _only(MARKS, "newer_bytes"),
    ),
    Mutant(
        "what S3 has refused is read from its answer, whatever the key is",
        "engine/s3/upload.py",
        "body = answer[2].",
        "body = str(failed).",
        _only("unit/test_s3_upload.py", "one_of_ours"),
    ),
    Mutant(
        "an outage is no word about what a bucket takes",
        "engine/s3/refusals.py",
        "            if refused.passes:\n                raise\n",
        "",
        _only("unit/test_s3_refusals.py", "no_answer"),
    ),
    Mutant(
        "a mark that a tool has taken along to other bytes is none",
        "engine/s3/marks.py",
        "if not value or version.metadata.get(SYNCED_SIZE) not in (None, str(version.size)):",
        "if not value:",
        _only(MARKS, "TestMetadataKept and metadata"),
    ),
    Mutant(
        "an object that only marks have changed is not sent again",
        "engine/s3/marks.py",
        "            if same.isdisjoint((bare(head.etag), *_listed(head, SYNCED_OF))):\n",
        "            if True:\n",
        _only(MARKS, "in_between"),
    ),
    Mutant(
        "a mark by metadata where both conditions of a copy were seen to hold",
        "engine/s3/probes.py",
        '(("If-Match", (404, 412)), ("x-amz-copy-source-if-match", (412,)))',
        '(("x-amz-copy-source-if-match", (412,)),)',
        _only(MARKS, "ends_the_run_before_its_first_delivery"),
    ),
    Mutant(
        "a probe that meets no object says nothing about the store",
        "engine/s3/probes.py",
        "                if refused.status == 404:\n                    return None\n",
        "",
        _only(MARKS, "deleted_meanwhile"),
    ),
    Mutant(
        "an object whose tags are not shown says nothing about the store",
        "engine/s3/probes.py",
        "        if unreadable and not lack:\n",
        "        if False:\n",
        _only("unit/test_s3_probes.py", "tags_are_not_shown"),
    ),
    Mutant(
        "an object of several parts whose tags are not shown is not delivered",
        "engine/s3/marks.py",
        ' and (version.tags > 0 or "-" not in version.etag)',
        "",
        _only(MARKS, "whose_tags_are_not_shown"),
    ),
    Mutant(
        "what a store makes of a probe is removed",
        "engine/s3/probes.py",
        'await self._bucket.requests.ask("DELETE", name)',
        "pass",
        _only(MARKS, "condition_of_a_copy_is_ignored"),
    ),
    Mutant(
        "an object with no room for metadata is marked by a tag",
        "engine/s3/marks.py",
        "        if size > MAX_METADATA:\n",
        "        if False:\n",
        _only(MARKS, "no_room_for_metadata"),
    ),
    Mutant(
        "tags are looked at before the delivery where S3 does not count them",
        "engine/s3/marks.py",
        'if kind != "tag" or is_counted:',
        "if True:",
        _only(MARKS, "sent_once"),
    ),
    Mutant(
        "the ETag in a tag",
        "engine/s3/marks.py",
        "return tokens if etag and etag in (bare(version.etag), *_listed(version, SYNCED_OF)) else []",
        "return tokens",
        _only("faults/test_s3_faults.py", "changes_while_it_is_pushed and tag and PutObjectTagging and overwrite"),
    ),
    Mutant(
        "tags: all that the answer shows are plainly tags",
        "engine/s3/xml.py",
        'if names != ["Key", "Value"] or any(len(child) for child in tag):',
        "if False:",
        _only("unit/test_s3_xml.py", "no_list_of_tags"),
    ),
    Mutant(
        "tags: as many as the object has",
        "engine/s3/marks.py",
        "if head is not None and len(tags) < head.tags:",
        "if False:",
        _only("faults/test_s3_faults.py", "overwrites_none and asyncio"),
    ),
    Mutant(
        "a mark that is refused before any other was taken ends the run",
        "engine/s3/marks.py",
        "if self._has_marked or refused.passes",
        "if True or refused.passes",
        _only("faults/test_s3_faults.py", "ends_with_what_to_change and asyncio"),
    ),
    Mutant(
        "the first file of a push is marked before another one is delivered",
        "engine/push.py",
        "                        await turn.enter_async_context(self._turn())\n",
        "                        pass\n",
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
        "if reason and not is_again:",
        "if reason:",
        _only(PUSH, "newest_bytes_win"),
    ),
    # --- push: what is not marked, and moved or deleted; flows that do not go together
    Mutant(
        "taken away: condition of the DELETE",
        "engine/s3/sent.py",
        'ask("DELETE", key, headers={"If-Match": version.etag})',
        'ask("DELETE", key)',
        _only(SENT, "overwritten_stays and off and delete"),
    ),
    Mutant(
        "taken away: condition of the copy",
        "engine/s3/sent.py",
        "{**self._copied(key, version), _SOURCE_IF_MATCH: version.etag}",
        "self._copied(key, version)",
        _only(SENT, "no_version_but"),
    ),
    Mutant(
        "taken away: where the condition of a DELETE was seen to hold",
        "engine/s3/sent.py",
        'self._lack = self._lack or await self._lacks("DELETE", probe, {"If-Match": NO_ETAG})',
        "pass",
        _only(SENT, "condition_of_a_delete and off and delete"),
    ),
    Mutant(
        "taken away: where the condition of a copy was seen to hold",
        "engine/s3/sent.py",
        'self._lack = await self._lacks("PUT", place, copied)',
        "pass",
        _only(SENT, "condition_of_a_copy"),
    ),
    Mutant(
        "taken away: an answer that is no 412 is no condition",
        "engine/s3/sent.py",
        '            if refused.status == 412:\n                return ""',
        '            if refused.status in (404, 412):\n                return ""',
        _only(SENT, "no_412"),
    ),
    Mutant(
        "taken away: with an ETag only",
        "engine/s3/sent.py",
        "if not bare(version.etag):  # no",
        "if False:  # no",
        _only(SENT, "no_etag"),
    ),
    Mutant(
        "taken away: what S3 shows to be copied only",
        "engine/s3/sent.py",
        'result = (await self.bucket.requests.ask("PUT", place, headers=headers)).element("CopyObjectResult")',
        'await self.bucket.requests.ask("PUT", place, headers=headers)\n        result = s3_xml.parse(b"<a/>", "a")',
        _only(SENT, "does_not_show_the_copy"),
    ),
    Mutant(
        "taken away: with all of its tags only",
        "engine/s3/sent.py",
        "        if version.tags:\n",
        "        if False:\n",
        _only(SENT, "loses_tags"),
    ),
    Mutant(
        "taken away: a store that contradicts itself ends the run",
        "engine/s3/sent.py",
        "raise StorageError(strange) if self._has_taken else self._refusal(StorageError(strange))",
        'return "overwritten"',
        _only(SENT, "contradicts_itself and delete"),
    ),
    Mutant(
        "taken away: newer bytes that another run has moved are sent",
        "engine/s3/sent.py",
        'return "moved on" if await self.has_newer(key, version, known) else "gone"',
        'return "gone"',
        _only(PUSH_SENT, "another_run_has_moved"),
    ),
    Mutant(
        "taken away: newer bytes that are found moved are sent",
        "engine/push.py",
        "            and await self._sent.has_newer(key, sending.delivered)\n",
        "            and False\n",
        _only(PUSH_SENT, "were_moved_once"),
    ),
    Mutant(
        "taken away: older bytes that were moved are not sent",
        "engine/s3/sent.py",
        "return moved.modified >= version.modified",
        "return True",
        _only(SENT, "older_ones"),
    ),
    Mutant(
        "taken away: older bytes do not take the place of newer ones",
        "engine/push.py",
        "                        await self._sent.last_look(source, version)\n",
        "                        pass\n",
        _only(PUSH_SENT, "older_bytes_do_not and delete"),
    ),
    Mutant(
        "taken away: the first file is, before another one is delivered",
        "engine/push.py",
        '(self.settings.mark == "none" and self._sent is None)',
        '(self.settings.mark == "none" or self._sent is not None)',
        _only(PUSH_SENT, "costs_one_file and delete"),
    ),
    Mutant(
        "taken away: a retry knows of a namesake that is there no more",
        "engine/push.py",
        "return self._sent is not None and given and since is not None",
        "return False",
        _only(PUSH_SENT, "in_a_retry and delete"),
    ),
    Mutant(
        "taken away: neither prefix is inside the other",
        "engine/settings.py",
        "if sent.startswith(prefix) or prefix.startswith(sent):",
        "if False:",
        _only("unit/test_settings.py", "of_a_push"),
    ),
    Mutant(
        "what was sent is never sent",
        "engine/unsynced.py",
        "if sent and key.startswith(sent):",
        "if False:",
        _only("unit/test_unsynced.py", "nobodys"),
    ),
    Mutant(
        "flows: two pushes to one destination and two directories",
        "flows/places.py",
        "if _destination(one) == _destination(other):",
        "if False:",
        _only(PLACES, "two_directories"),
    ),
    Mutant(
        "flows: a push that takes away what another one has to send",
        "flows/places.py",
        '== other.get("after_transfer", "keep") == "keep":',
        '== other.get("after_transfer", "keep") or True:',
        _only(PLACES, "another_one_has_to_send"),
    ),
    Mutant(
        "flows: rings",
        "flows/places.py",
        "_ring(number, after, open_ones)",
        "_ring(number, after, set())",
        _only(PLACES, "a_ring_is_refused"),
    ),
    Mutant(
        "flows: what may be a ring is said",
        "flows/places.py",
        "_ring(number, after, None) or _ring(number, perhaps, None)",
        "_ring(number, after, None)",
        _only(PLACES, "may_be_a_ring"),
    ),
    Mutant(
        "flows: the root of a server holds what is where a login begins",
        "flows/places.py",
        "() if is_all else (start, *names)",
        "(start, *names)",
        _only(PLACES, "a_ring_is_refused"),
    ),
    Mutant(
        "flows: a template is the same with other blanks",
        "flows/places.py",
        r'_BLANKS = re.compile(r"(?<=\{\{)\s+|\s+(?=\}\})")',
        r'_BLANKS = re.compile("^$")',
        _only(PLACES, "a_ring_is_refused"),
    ),
    Mutant(
        "flows: the sent prefix is a place",
        "flows/places.py",
        'if "sent_prefix" in flow else []',
        "if False else []",
        _only(PLACES, "a_ring_is_refused"),
    ),
    Mutant(
        "flows: a refusal hits those that take part only",
        "flows/places.py",
        "if there == start:",
        "if there == start or True:",
        _only(PLACES, "a_ring_is_refused"),
    ),
    Mutant(
        "keep: what one's end and the next one's beginning are is no file of ours",
        "engine/kept.py",
        "while at % SIZE and at > 0:",
        "while False:",
        _only("unit/test_kept.py", "that_were_added"),
    ),
    Mutant(
        "flows: S3's events name no access point",
        "flows/rules.py",
        'bool(ACCESS_POINT.search(flow["s3_bucket"]))',
        "False",
        _only("unit/test_flows.py", "do_not_go_together"),
    ),
    # --- the aws connection
    Mutant(
        "aws connection: a field that is misspelled is named",
        "hooks/aws_fields.py",
        "if name not in known and (meant := _nearly(name, known)):",
        "if False and (meant := _nearly(name, known)):",
        _only(AWS_SETTINGS, "heeded_or_named"),
    ),
    Mutant(
        "aws connection: half of a pair of keys is no key",
        "hooks/aws_fields.py",
        "if half := next((called for called, pair in pairs.items() if any(pair)), None):",
        "if half := None:",
        _only(AWS_SETTINGS, "login"),
    ),
    Mutant(
        "aws connection: what is not heeded is said",
        "hooks/aws_fields.py",
        "    unheeded = list(_unheeded(fields))\n",
        "    unheeded: list[str] = []\n",
        _only(AWS_SETTINGS, "heeded_or_named"),
    ),
    Mutant(
        "aws connection: what is not heeded is said in the log of a run",
        "engine/transfer.py",
        "            observer.remark(remark)\n",
        "            pass\n",
        _only(AWS_SETTINGS, "takes_no_notice"),
    ),
    Mutant(
        "aws connection: a text is no switch",
        "hooks/aws_fields.py",
        '(bool,), "true or false")',
        '(bool, str), "true or false")',
        _only(AWS_SETTINGS, "addressin"),
    ),
    Mutant(
        "aws connection: a proxy that nobody here speaks to",
        "engine/s3/endpoint.py",
        'if scheme not in ("http", "https"):',
        "if False:",
        _only(AWS_SETTINGS, "proxies"),
    ),
    Mutant(
        "aws connection: a region that does not exist is worth no retry",
        "engine/s3/bucket.py",
        "            check_region(self._opened_with[1], self.endpoint, failed)\n",
        "",
        _only("integration/test_connections.py", "region_that_does_not_exist"),
    ),
    # --- S3's answers
    Mutant(
        "a key in a listing: the XML is undone before the URL",
        "engine/s3/xml.py",
        'if "&" in inside:',
        "if False:",
        _only("faults/test_s3_faults.py", "a_store_writes and asyncio"),
    ),
    Mutant(
        "a listing that does not go on where there is more",
        "engine/s3/pages.py",
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
        "engine/s3/upload.py",
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
        "    check_segments(relative)\n",
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
        "    if is_temporary(posixpath.basename(relative)):\n",
        "    if False:\n",
        _only(PATHS, "refused_with_a_reason"),
    ),
    Mutant(
        "names of up to 255 bytes are names",
        "engine/paths.py",
        "if len(segment) > MAX_NAME_BYTES",
        "if len(segment) >= MAX_NAME_BYTES",
        _only(PATHS, "name_of_255_bytes"),
    ),
    Mutant(
        "what strip_regex leaves, in each segment",
        "engine/paths.py",
        "    check_segments(relative)\n",
        '    check_segments(relative.partition("/")[0])\n',
        _only(PATHS, "strip_regex_brings_about"),
    ),
    Mutant(
        "a trailing ** is not the directory's own name",
        "engine/globs.py",
        "            return at < len(names)\n",
        "            return True\n",
        _only(GLOBS, "globs"),
    ),
    Mutant(
        "the ledger's name in any directory",
        "engine/paths.py",
        'return not {STATE, LEDGER}.isdisjoint(key.split("/"))',
        "return key == LEDGER",
        _only(PATHS, "ledgers_name"),
    ),
    # --- what a server says
    Mutant(
        "attributes: the owner is two numbers",
        "engine/sftp/protocol.py",
        "if flags & _HAS_OWNER:\n            self._at += 8",
        "if flags & _HAS_OWNER:\n            self._at += 4",
        _only(PROTOCOL, "attributes_are or listing_is_read"),
    ),
    Mutant(
        "attributes: extended ones are passed over",
        "engine/sftp/protocol.py",
        "                self.view(), self.view()\n",
        "                pass\n",
        _only(PROTOCOL, "attributes_are or listing_is_read"),
    ),
    Mutant(
        "no SFTP before version 3",
        "engine/sftp/protocol.py",
        " or version < VERSION:",
        ":",
        _only(PROTOCOL, "older_version"),
    ),
    Mutant(
        "a limit of 0 is none",
        "engine/sftp/protocol.py",
        " if limit else SAFE_REQUEST",
        "",
        _only(PROTOCOL, "limits_that_are_none"),
    ),
    Mutant(
        "a near server is asked for little ahead",
        "engine/sftp/file.py",
        "if self._session.round_trip < FAR:\n            window =",
        "if False:\n            window =",
        _only("integration/test_requests.py", "near_server"),
    ),
    # --- many files at once
    Mutant(
        "memory: bytes that were given to a file that is cancelled",
        "engine/limits.py",
        "if turn.done() and not turn.cancelled():\n                self.give(size)",
        "if turn.done() and not turn.cancelled():\n                pass",
        _only(LIMITS, "who_gives_up"),
    ),
    Mutant(
        "memory: who gives up lets the next one go",
        "engine/limits.py",
        "                self.give(0)\n",
        "",
        _only(LIMITS, "who_gives_up"),
    ),
    Mutant(
        "caps: max_files is given back",
        "engine/limits.py",
        "                self._files -= 1\n",
        "",
        _only(LIMITS, "whether_a_file_fits"),
    ),
    Mutant(
        "caps: max_bytes is given back",
        "engine/limits.py",
        "self._bytes += (transferred or 0) - size",
        "self._bytes += transferred or 0",
        _only(LIMITS, "whether_a_file_fits"),
    ),
    Mutant(
        "caps: files wait for those in flight",
        "engine/limits.py",
        "                if not self._in_flight:\n",
        "                if True:\n",
        _only(LIMITS, "whether_a_file_fits"),
    ),
    Mutant(
        "file_timeout: one clock for all shares",
        "engine/run.py",
        "if self.options.file_timeout is not None and (clock := file_clock.get()).when() is None:",
        "if self.options.file_timeout is not None and (clock := file_clock.get()):",
        _only(RUN, "of_the_file_and_not_of_each_share"),
    ),
    Mutant(
        "file_timeout: the clock goes on after a wait",
        "engine/limits.py",
        "    clock.reschedule(asyncio.get_running_loop().time() + time_left)\n",
        "",
        _only(RUN, "stands_still"),
    ),
    Mutant(
        "a lost connection counts once",
        "engine/limits.py",
        "if lost.connection != self._last:",
        "if True:",
        _only(RUN, "begins_its_files_again"),
    ),
    Mutant(
        "a connection that moved something does not count",
        "engine/run.py",
        "                self._losses.are_over()\n",
        "",
        _only(RUN, "none_of_those_in_a_row"),
    ),
    Mutant(
        "what somebody has to mend goes first",
        "engine/run.py",
        "    return first\n",
        "    return leaves[0]\n",
        _only(RUN, "somebody_has_to_mend"),
    ),
    Mutant(
        "expired credentials are asked for again",
        "engine/run.py",
        "if attempt < ATTEMPTS:\n                    await",
        "if False:\n                    await",
        _only(RUN, "expired_credentials"),
    ),
    # --- what Airflow renders
    Mutant(
        "a list from a template is a list",
        "transfers/templates.py",
        "            setattr(self, name, with_lists(before, getattr(self, name)))\n",
        "            pass\n",
        _only("unit/test_templates.py", "is_that_list"),
    ),
    Mutant(
        "what is written plainly is no list",
        "transfers/templates.py",
        "not is_template(written) or rendered == written",
        "False",
        _only("unit/test_templates.py", "written_plainly"),
    ),
    Mutant(
        "a run that would take nothing is no success",
        "engine/globs.py",
        "        if not self.include:\n",
        "        if False:\n",
        _only(GLOBS, "empty_list_to_include"),
    ),
    Mutant(
        "a label that Airflow's database holds",
        "transfers/templates.py",
        "    if len(first) > room:\n",
        "    if False:\n",
        _only("unit/test_templates.py", "label"),
    ),
    Mutant(
        "a label that Airflow's database holds, whatever the user's template",
        "transfers/templates.py",
        'context["map_index_template"] = bounded',
        "pass",
        _only("unit/test_templates.py", "any_map_index_template"),
    ),
    Mutant(
        "a typo is an import error",
        "transfers/templates.py",
        "            self.judge(self.plain(vars(self)))\n",
        "            pass\n",
        _only("integration/test_operators.py", "typo"),
    ),
    Mutant(
        "a typo in what is mapped is an import error",
        "transfers/templates.py",
        "        cls.judge(cls.plain(kwargs))\n",
        "",
        _only("integration/test_operators.py", "typo"),
    ),
    Mutant(
        "a template is not judged before it is rendered",
        "transfers/templates.py",
        '        return is_template(value) or "{#" in value\n',
        "        return False\n",
        _only("unit/test_templates.py", "not_known_yet"),
    ),
    Mutant(
        "a task that has returned nothing has nothing moved",
        "transfers/templates.py",
        "                self._found_none = (*self._found_none, name)\n",
        "                pass\n",
        _only("unit/test_templates.py", "comes_to_none"),
    ),
    Mutant(
        "a batch that is None is not everything",
        "transfers/templates.py",
        "            self._given = frozenset(kwargs)\n",
        "            pass\n",
        _only("integration/test_operators.py", "batch_of_none"),
    ),
    # --- connections and time
    Mutant(
        "host key",
        "engine/sftp/login.py",
        "    if not server.verify_host_key:\n",
        "    if True:\n",
        _only("integration/test_connections.py", "another_host_key_is_refused"),
    ),
    Mutant(
        "login: a password is shown once",
        "engine/sftp/login.py",
        "given, self._password = self._password, None",
        "given = self._password",
        _only(LOGINS, "question_once"),
    ),
    Mutant(
        "login: a password is no second factor",
        "engine/sftp/login.py",
        " and not _SECOND_FACTOR.search(words)",
        "",
        _only(LOGINS, "something_else"),
    ),
    Mutant(
        "login: one that is cut counts as an attempt",
        "engine/sftp/session.py",
        "if failed.in_login and not self._opened:",
        "if False:",
        _only(LOGINS, "server_cuts"),
    ),
    Mutant(
        "login: a refusal is the last one of the task",
        "engine/sftp/session.py",
        "        if self._refused is not None:\n            raise",
        "        if False:\n            raise",
        _only(LOGINS, "refused_later_on"),
    ),
    Mutant(
        "login: a hang-up that says why is a refusal",
        "engine/sftp/connection.py",
        "bool(_REFUSAL.search(str(failed.reason)))",
        "False",
        _only(LOGINS, "shown_once and disconnects"),
    ),
    Mutant(
        "login: mapped tasks heed a refusal",
        "transfers/base.py",
        "        self._heed_refusals(context)\n",
        "",
        _only(LOGINS, "come_after_a_refused_login"),
    ),
    Mutant(
        "login: a continuous Dag waits",
        "transfers/base.py",
        'if is_continuous(context["dag"]):',
        "if False:",
        _only(LOGINS, "waits_after_a_refused_login"),
    ),
    Mutant(
        "login: no ssh_config unasked",
        "engine/sftp/connection.py",
        '"config": None,',
        '"config": (),',
        _only(LOGINS, "not_read_unless"),
    ),
    Mutant(
        "login: no certificates of the worker's",
        "engine/sftp/connection.py",
        '        "x509_trusted_certs": None,\n',
        "",
        _only(LOGINS, "certificates_of_the_worker"),
    ),
    Mutant(
        "login: a user of no name",
        "engine/sftp/connection.py",
        "    login.name_this_process(server)\n",
        "",
        _only(LOGINS, "no_passwd_entry"),
    ),
    Mutant(
        "login: an address that swallows packets",
        "engine/sftp/line.py",
        "timeout=NEXT_ADDRESS_SECONDS if waiting else None",
        "timeout=None",
        _only(LOGINS, "second_address and swallows and asyncio"),
    ),
    Mutant(
        "login: a line that may revoke a host key",
        "engine/sftp/login.py",
        'if line.lstrip().startswith("@"):',
        "if False:",
        _only(LOGINS, "may_revoke"),
    ),
    Mutant(
        "login: an Extra that is no JSON",
        "hooks/extra.py",
        "    except ValueError as wrong:\n        hint",
        "    except ZeroDivisionError as wrong:\n        hint",
        _only(LOGINS, "is_no_json"),
    ),
    Mutant(
        "a host key is not given in vain",
        "hooks/sftp_server.py",
        "        if host_key and unchecked_by:\n",
        "        if False:\n",
        _only("integration/test_connections.py", "no_server_is_logged_in_to"),
    ),
    Mutant(
        "the watchdog of a silent server",
        "engine/sftp/link.py",
        "if silent > limit or sftp.newest_answered - sent > limit:",
        "if False:",
        _only("faults/test_servers.py", "TestHungRequests and pull_ends_in_time and READ and not READDIR"),
        hangs=True,
    ),
    Mutant(
        "conn_timeout",
        "engine/sftp/connection.py",
        "async with asyncio.timeout(timeout):",
        "async with asyncio.timeout(None):",
        _only("faults/test_servers.py", "no_banner"),
        hangs=True,
    ),
    Mutant(
        "a fork of a process that has uploaded something is refused",
        "engine/s3/upload.py",
        "        if self._process not in (None, os.getpid()):\n",
        "        if False:\n",
        _only("integration/test_engine_thread.py", "fork"),
    ),
    Mutant(
        "no uvloop where threads are none",
        "engine_thread.py",
        "if not isinstance(_thread.start_new_thread, types.BuiltinFunctionType):",
        "if False:",
        _only("integration/test_engine_thread.py", "threads_are_none and uvloop"),
    ),
    Mutant(
        "engines at the same time leave the process as it was",
        "engine_thread.py",
        "            if not self._users:\n                self._before",
        "            if True:\n                self._before",
        _only("integration/test_engine_thread.py", "same_time"),
    ),
    Mutant(
        "stop raises nothing over the reason it is called for",
        "engine_thread.py",
        "            with contextlib.suppress(RuntimeError):  # the loop is closed, perhaps in this very moment\n",
        "            if True:\n",
        _only("integration/test_engine_thread.py", "raises_nothing"),
    ),
    Mutant(
        "a signal before there is a wait stops the engine",
        "engine_thread.py",
        "            self.stop()  # a signal may come before there is a wait that it ends\n",
        "",
        _only("integration/test_engine_thread.py", "before_the_wait"),
    ),
    Mutant(
        "a multipart upload that is cancelled is aborted",
        "engine/s3/upload.py",
        "                call_off()\n",
        "",
        _only("faults/test_servers.py", "multipart_upload_is_cancelled"),
    ),
    # --- what goes on for ever
    Mutant(
        "a directory that repeats its names ends",
        "engine/sftp/entries.py",
        "if given > MAX_REPEATS * names + MAX_REPEATED:",
        "if False:",
        _only(ENDLESS, "repeats"),
        hangs=True,
    ),
    Mutant(
        "a directory has no more names than memory",
        "engine/sftp/entries.py",
        "elif names > MAX_ENTRIES or names_bytes > MAX_NAMES_BYTES:",
        "elif False:",
        _only(ENDLESS, "never"),
        hangs=True,
    ),
    Mutant(
        "a listing of S3 that does not get on ends",
        "engine/s3/pages.py",
        "(bool(entries) and hash(entries[0].key) in begun)",
        "False",
        _only(ENDLESS, "does_not_get_on and tokens"),
        hangs=True,
    ),
    Mutant(
        "an error of S3 is not read to its end",
        "engine/s3/requests.py",
        "        if len(body) > limit:\n            return bytes(body[:limit]), False\n",
        "",
        _only(ENDLESS, "without_end_is_not_read"),
        hangs=True,
    ),
    Mutant(
        "what a server says is cut",
        "engine/paths.py",
        "        path = path[:limit]\n",
        "        pass\n",
        _only(PROTOCOL, "cut_and_printable"),
    ),
    Mutant(
        "no request after the end",
        "engine/s3/requests.py",
        "        self._closed = True\n",
        "",
        _only(ENDLESS, "after_the_end"),
    ),
    Mutant(
        "a strip_regex that may take long is searched for in a process of its own",
        "engine/strip.py",
        "return len(_FORK.findall(plain)) <= (2 if is_bound else 1)",
        "return True",
        _only("unit/test_strip.py", "may_take_long"),
    ),
    Mutant(
        "no more files at once than the system allows",
        "engine/run.py",
        "if self._workers > (most := connections_left() // 2):",
        "if self._workers > (most := 10**6):",
        _only(RUN, "system_allows"),
    ),
    Mutant(
        "what is unforeseen leaves a run as itself",
        "engine/run.py",
        "            error = _first(several)\n",
        "            error = several\n",
        _only(RUN, "unforeseen_leaves"),
    ),
    Mutant(
        "a file that is a little ahead is young",
        "engine/listing.py",
        "entry.stat.mtime > now + self.min_age):",
        "entry.stat.mtime > now):",
        _only(PULL, "little_ahead"),
    ),
    Mutant(
        "the second look is a minute later at most",
        "engine/listing.py",
        "pause = min(self.min_age, MAX_PAUSE)",
        "pause = self.min_age",
        _only(PULL, "second_look"),
    ),
    # --- names on the way
    Mutant(
        "names on the way: of two files of one key the second fails",
        "engine/keys.py",
        "if first is not None and first != own:",
        "if False:",
        _only(RENAMED, "of_two_files and Asyncssh and move"),
    ),
    Mutant(
        "names on the way: what comes to one key is in one shard",
        "engine/listing.py",
        "self._name_of = name_of if shard.count > 1 else None",
        "self._name_of = None",
        _only(RENAMED, "in_one_shard"),
    ),
    Mutant(
        "names on the way: a retry knows what an earlier try has pulled to a key",
        "engine/keys.py",
        "if self._since is not None and version.modified >= self._since:",
        "if False:",
        _only(RENAMED, "of_two_files and Asyncssh and move"),
    ),
    Mutant(
        "names on the way: a file that has changed gets the name of what is read",
        "engine/fetch.py",
        "            if pulled.named_for != stat:\n",
        "            if False:\n",
        _only(RENAMED, "changes_gets_the_name"),
    ),
    Mutant(
        "names on the way: a rename that sets the mtime gives no second name",
        "engine/fetch.py",
        "stat = stat if mtime is None else stat._replace(mtime=mtime)",
        "stat = stat",
        _only(RENAMED, "rename_sets_the_mtime"),
    ),
    Mutant(
        "names on the way: a new name is a plain path",
        "engine/rename.py",
        "    check_segments(name)\n    if",
        "    if",
        _only(RENAME, "hostile or plain_path"),
    ),
    Mutant(
        "names on the way: none is one of ours",
        "engine/rename.py",
        "    if is_state(name):\n",
        "    if False:\n",
        _only(RENAME, "hostile"),
    ),
    Mutant(
        "names on the way: two keys of one path",
        "engine/places.py",
        "        if first != key:\n            raise NameRefused(",
        "        if False:\n            raise NameRefused(",
        _only(RENAMED, "of_two_objects"),
    ),
    # --- names that are taken
    Mutant(
        "taken names: a pull's own earlier try is known",
        "engine/keys.py",
        "own = version if version is not None and version.is_of(stat) else None",
        "own = version",
        _only(KEYS, "what_is_there_decides or earlier_tries or minutes"),
    ),
    Mutant(
        "taken names: an object that is there is not replaced",
        "engine/keys.py",
        '            elif self._on_conflict != "rename":\n',
        "            elif False:\n",
        _only(KEYS, "what_is_there_decides"),
    ),
    Mutant(
        "taken names: nor is one under the second name",
        "engine/keys.py",
        "                if version is not None and not version.is_of(stat):\n                    both",
        "                if False:\n                    both",
        _only(KEYS, "what_is_there_decides"),
    ),
    Mutant(
        "taken names: a file is looked at before it is a conflict",
        "engine/keys.py",
        "and not version.is_of(stat) and look_again is not None:",
        "and False:",
        _only(KEYS, "looked_at_before"),
    ),
    Mutant(
        "taken names: what comes while a file is read is not replaced",
        "engine/s3/only_new.py",
        "        if self._heeded[how]:\n            return _CONDITION\n",
        "",
        _only(CONFLICT, "TestPull and comes_while and heeds"),
    ),
    Mutant(
        "taken names: a condition counts where it was seen to hold only",
        "engine/s3/only_new.py",
        "        self._heeded[how] = False\n",
        "        self._heeded[how] = True\n",
        _only(ONLY_NEW, "look_has_to_do"),
    ),
    Mutant(
        "taken names: PUT and the end of an upload are tried apart",
        "engine/s3/only_new.py",
        "self._once.done(how.encode(), lambda: self._find_out(key, how))",
        "self._once.done(b'', lambda: self._find_out(key, 'PutObject'))\n        self._heeded[how] = True",
        _only(CONFLICT, "of_a_put_only"),
    ),
    Mutant(
        "taken names: a last look before an upload in parts ends",
        "engine/fetch.py",
        "            if condition is not None and not condition:\n",
        "            if False:\n",
        _only(CONFLICT, "TestPull and comes_while and rename"),
    ),
    Mutant(
        "taken names: the condition goes along with the end of an upload in parts",
        "engine/s3/multipart.py",
        "query_of(upload), condition, body)",
        "query_of(upload), None, body)",
        _only(ONLY_NEW, "stores_nothing"),
    ),
    Mutant(
        "taken names: what S3 refuses does not stay in the done directory",
        "engine/done.py",
        "                    if not isinstance(failed, NotFound):",
        "                    if False:",
        _only(CONFLICT, "turns_up_in_the_done"),
    ),
    Mutant(
        "taken names: a push looks before it downloads",
        "engine/push.py",
        "            place = await self._publication.free_place(path, head.stat)\n",
        "            pass\n",
        _only(CONFLICT, "TestPush and each_mode and Asyncssh"),
    ),
    Mutant(
        "taken names: a push replaces nothing that has come meanwhile",
        "engine/publication.py",
        "if await publish(place, replaces=False):",
        "if await publish(place, replaces=True):",
        _only(CONFLICT, "TestPush and comes_while and Asyncssh"),
    ),
    Mutant(
        "taken names: a RENAME replaces, as far as was not seen otherwise",
        "engine/sftp/replace.py",
        "self._session.traits.learn_rename(replaces=replaces)",
        "self._session.traits.learn_rename(replaces=False)",
        _only(CONFLICT, "TestPush and comes_while and Rclone"),
    ),
    Mutant(
        "taken names: an answer to a RENAME that is lost is looked after",
        "engine/sftp/replace.py",
        "            if await self._session.exists(old) or not await self._session.exists(new):\n",
        "            if True:\n",
        _only(CONFLICT, "answer_to_the_rename"),
    ),
    Mutant(
        "alike names: dots and blanks at the end are nothing to Windows",
        "engine/naming.py",
        '    path = _ENDS.sub(b"", path)\n',
        "",
        _only("unit/test_naming.py", "that_are_alike"),
    ),
    Mutant(
        "taken names: what has its name is ours, though more is to come",
        "engine/publication.py",
        "        path = pushed.path = await self._name(",
        "        path = await self._name(",
        _only(CONFLICT, "cut_behind_the_name"),
    ),
    Mutant(
        "taken names: older bytes of one's own are replaced",
        "engine/publication.py",
        "if self._replaces or pushed.path:",
        "if self._replaces:",
        _only(CONFLICT, "older_bytes"),
    ),
    Mutant(
        "taken names: what waits is left for the next run",
        "engine/push.py",
        "reason=WAITS, changed=pushed.changed, left=True)",
        "reason=WAITS, changed=pushed.changed)",
        _only(CONFLICT, "TestPush and each_mode and wait and Asyncssh"),
    ),
    Mutant(
        "taken names: a run in which all waits takes its time",
        "sensors/partner.py",
        "return not all_wait or",
        "return True or",
        _only("unit/test_partner_sensor.py", "it_waits"),
    ),
    Mutant(
        "continuous flows: what failed rings again at once",
        "sensors/failure.py",
        "return len(others) > known - len(named)",
        "return bool(others) or not named",
        _only("integration/test_flow_dags.py", "goes_on_with_what_is_new"),
    ),
    # --- done files, modes and mtimes
    Mutant(
        "done files: an older one is not replaced",
        "engine/done.py",
        "        if self._older is None:\n            return await self._session.move(path, done)\n",
        "        if True:\n            return await self._session.move(path, done)\n",
        _only(DONE_CONFLICT, "each_day"),
    ),
    Mutant(
        "done files: nor is another older one",
        "engine/aside.py",
        "        for number in range(MAX_ASIDE):\n",
        "        for number in (0,):\n",
        _only(DONE_CONFLICT, "replaced_or_renamed and Asyncssh"),
    ),
    Mutant(
        "done files: our own is not set aside where an answer was lost",
        "engine/sftp/replace.py",
        "            if not await self._session.exists(old):  # some servers look at the target first\n",
        "            if False:\n",
        _only("unit/test_sftp_replace.py", "gone_is_not_there"),
    ),
    Mutant(
        "done files: a time that may be the file's own is no stamp",
        "engine/purge.py",
        "if not is_stamped or paths.is_aside(posixpath.basename(path), mtime):",
        "if not is_stamped:",
        _only(DONE_CONFLICT, "purged_no_sooner"),
    ),
    Mutant(
        "done files: what a killed try has made to try RENAME is removed",
        "engine/aside.py",
        "        if self._is_retry:\n",
        "        if False:\n",
        _only(DONE_CONFLICT, "killed_try"),
    ),
    Mutant(
        "modes: one that is refused is a failure",
        "engine/attributes.py",
        "            if self._mode is not None:\n                await",
        "            if False:\n                await",
        _only(ATTRIBUTES, "refused_fails"),
    ),
    Mutant(
        "modes: one that does not stay is a failure",
        "engine/attributes.py",
        "        if not self._mode_stays:\n",
        "        if False:\n",
        _only(ATTRIBUTES, "does_not_stay"),
    ),
    Mutant(
        "modes: a file has its own before it has its name",
        "engine/delivery.py",
        "                await self._attributes.set(temporary, download.version.stat.mtime)\n",
        "                pass\n",
        _only(FILE_ATTRIBUTES, "before_it_has_its_name"),
    ),
    Mutant(
        "modes: an mtime that does not stay is told",
        "engine/attributes.py",
        "        if there not in (mtime, None):\n",
        "        if False:\n",
        _only(ATTRIBUTES, "does_not_stay"),
    ),
    # --- given files
    Mutant(
        "given files: one that is missing fails",
        "engine/pull.py",
        'return Outcome(label, "failed", reason=why)',
        'return Outcome(label, "skipped", reason="gone")',
        _only(GIVEN, "what_holds_for_the_tree"),
    ),
    Mutant(
        "given files: what an older run has pulled is not recovered",
        "engine/keys.py",
        "version.modified < self._since or naming",
        "naming",
        _only(GIVEN, "is_recovered"),
    ),
    Mutant(
        "given files: what is another partner's is not recovered",
        "engine/keys.py",
        " or naming.reason_by_metadata(key, version) is None:",
        ":",
        _only(GIVEN, "is_recovered"),
    ),
    Mutant(
        "given files: no path leads out",
        "engine/paths.py",
        '    if b".." in segments:\n        raise NameRefused("it has the segment \'..\', which is not followed")\n'
        '    if not segments:\n        raise NameRefused("it is sftp_path itself: sftp_paths are files beneath it")\n'
        "    for segment in segments:\n        check_name(segment)\n",
        "",
        _only(GIVEN, "what_holds_for_the_tree"),
    ),
    Mutant(
        "given files: what a killed run has left to be deleted is found",
        "engine/listing.py",
        "and paths.deleted_name(each.name) == name]",
        "and False]",
        _only(GIVEN, "left_to_be_deleted"),
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
