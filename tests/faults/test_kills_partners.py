"""
SIGKILL under what partners agree on, at each step of a run, and then a plain retry.

Names on the way, names that are taken, older done files, modes and mtimes, triggers, checksum files. Nothing is lost
or replaced that should not be, and nothing is there twice but what docs/partners.md says of a push: it cannot know what
it has delivered.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shutil
from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.model import WAITS
from airflow_provider_sftp_s3.engine.options import MiB
from tests.faults import table
from tests.faults.harness import beneath, done_path, marked_keys, read_tree, write_tree
from tests.faults.test_kills import PATIENCE, SHARDS, Sweep, kill_at_each_step
from tests.support.s3_server import S3Server
from tests.support.sftp_servers import AsyncsshServer

pytestmark = pytest.mark.faults

WHEN = 1_700_000_000
FILES = {
    "one": b"1",
    "again.csv": os.urandom(3_000),
    "sub/again.csv": os.urandom(40_000),
    "sub/large": os.urandom(5 * MiB + 70_000),
}
#: What is there already of those names: in S3, at the partner, in the done directory.
OLD = {"again.csv": b"the one before", "sub/again.csv": os.urandom(50_000)}
PULLS: dict[str, dict[str, Any]] = {
    "names, rename": {
        **{"rename_to": "{dir}/{stem}-{size}{suffix}", "on_conflict": "rename", "done_conflict": "rename"}
    },
    "skip": {"on_conflict": "skip", "done_conflict": "rename"},
    "given files": {"sftp_paths": list(FILES), "on_conflict": "skip", "done_conflict": "rename"},
    "delete, rename": {"on_conflict": "rename", "after_transfer": "delete"},
    "keep, rename": {"on_conflict": "rename", "after_transfer": "keep"},
    "days": {"on_conflict": "rename", "done_dir": ".done/{date}"},
}
#: The day of what is done already, where each day has a directory.
LONG_AGO = "2001-01-01"
PUSHES: dict[str, dict[str, Any]] = {
    "names, rename": {"rename_to": "{dir}/{stem}-{size}{suffix}", "on_conflict": "rename"},
    "wait": {"on_conflict": "wait", "file_mode": "0640", "preserve_mtime": True},
    "triggers": {"trigger_file": "{name}.ok"},
    "one trigger": {"trigger_file": "_SUCCESS", "temp_name": None},
    "sums and triggers": {"checksum_file": "{name}.sha256", "trigger_file": "{name}.ok"},
    "wait, delete": {"on_conflict": "wait", "after_transfer": "delete", "s3_prefix": "out/"},
}


def beside(name: str, number: str = "") -> str:
    """Return the name of a file whose own one is taken."""
    stem, suffix = posixpath.splitext(name)
    return f"{stem}.{WHEN}{number}{suffix}"


def with_sums(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the checksum files of files."""
    return {
        f"{name}.sha256": f"{hashlib.sha256(data).hexdigest()}  {posixpath.basename(name)}\n".encode()
        for name, data in files.items()
    }


def renamed(name: str) -> str:
    """Return the name on the way of a file, or of a checksum file, as `AwaitedSweep` has it."""
    directory, own = posixpath.split(name)
    return posixpath.join(directory, f"new_{own}")


class PartnerSweep(Sweep):
    """As :class:`Sweep`, with a name on the way for each file, of which some are taken."""

    def target(self, name: str) -> str:
        """Return what a file is called at its target, where that is free."""
        if "rename_to" not in self.arguments:
            return name
        stem, suffix = posixpath.splitext(name)
        return f"{stem}-{len(FILES[name])}{suffix}"

    @property
    def taken(self) -> dict[str, bytes]:
        return {self.target(name): data for name, data in OLD.items()}

    def store(self, objects: dict[str, bytes], **arguments: Any) -> None:
        for key, data in objects.items():
            self.client.put_object(Bucket=self.bucket, Key=key, Body=data, **arguments)

    def objects(self) -> dict[str, bytes]:
        found = beneath(self.s3, self.bucket, self.arguments.get("s3_prefix", ""))
        return {key: found[key] for key in found if not key.startswith(".sftp-s3/")}


class PullSweep(PartnerSweep):
    def __init__(self, kind: str, *args: Any) -> None:
        super().__init__("pull", *args, **PULLS[kind])
        self.after = self.arguments.get("after_transfer", "move")
        self.skipped = set(OLD) if self.arguments["on_conflict"] == "skip" else set[str]()
        self.transfers = len(FILES) - len(self.skipped)

    def prepare(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        self.s3.empty(self.bucket)
        write_tree(self.root, FILES)
        for name in FILES:
            os.utime(self.root / name, (WHEN, WHEN))
        if self.after == "move":
            write_tree(self.root, {self.older_path(name): data for name, data in OLD.items()})
        self.store(self.taken)

    def key_of(self, name: str) -> str:
        """Return the key that a file has in the end."""
        key = self.target(name)
        return beside(key) if key in self.taken else key

    def older_path(self, name: str) -> str:
        """Return where an older file of a name was moved."""
        day = f"/.done/{LONG_AGO}/" if "done_dir" in self.arguments else "/.done/"
        return f"/{done_path(name)}".replace("/.done/", day).removeprefix("/")

    def tree(self) -> dict[str, bytes]:
        """Return what is at the server, with what was moved today as if days had no directories."""
        return {
            re.sub(rf"\.done/(?!{LONG_AGO})[0-9-]{{10}}/", ".done/", name): data
            for name, data in read_tree(self.root).items()
        }

    def check_after_kill(self) -> None:
        tree, objects = self.tree(), self.objects()
        table.checked(len(FILES))
        left = {name for name in FILES if tree.get(name) == FILES[name]}
        in_s3 = {name for name in FILES if objects.get(self.key_of(name)) == FILES[name]}
        done = [(name, data) for name, data in tree.items() if ".done/" in name]
        moved = {name for name in FILES if any(data == FILES[name] for _, data in done)}
        table.none_is("lost", set(FILES) - left - in_s3)
        table.none_is("lost", set(FILES) - left - moved if self.after != "delete" else ())
        table.none_is("lost", [name for name, data in self.taken.items() if objects.get(name) != data])
        if self.after == "move":
            table.none_is("lost", [name for name, data in OLD.items() if data not in dict(done).values()])
        allowed = {self.key_of(name): FILES[name] for name in FILES} | self.taken
        table.none_is("wrong bytes", [key for key, data in objects.items() if allowed.get(key) != data])
        self.kills += 1

    def retry(self) -> None:
        self.run_again()
        self.check_after_kill()
        self.kills -= 1
        tree = self.tree()
        expected = {self.key_of(name): FILES[name] for name in set(FILES) - self.skipped}
        assert self.objects() == expected | self.taken
        stays = set(FILES) if self.after == "keep" else self.skipped
        assert {name: data for name, data in tree.items() if ".done/" not in name} == {n: FILES[n] for n in stays}
        done = {name: data for name, data in tree.items() if ".done/" in name}
        if self.after == "move":
            moved = {done_path(name): FILES[name] for name in set(FILES) - self.skipped}
            assert {name: done[name] for name in moved} == moved
            older = {re.sub(r"\.\d{10}(-\d)?$", "", name): data for name, data in done.items() if name not in moved}
            assert older == {self.older_path(name): data for name, data in OLD.items()}
        else:
            assert done == {}
        table.none_is("left over", self.s3.unfinished_uploads(self.bucket))


class AwaitedSweep(PartnerSweep):
    """A pull of files with triggers, each its own or one for a directory, or with checksum files, or with both."""

    def __init__(self, beside: dict[str, str], after: str, *args: Any) -> None:
        arguments: dict[str, Any] = {"after_transfer": after, **beside}
        super().__init__("pull", *args, **arguments)
        self.after = after
        sums = with_sums(FILES) if "checksum_file" in beside else {}
        triggers: dict[str, list[str]] = {}
        for name in FILES if "trigger_file" in beside else ():
            directory, own = posixpath.split(name)
            trigger = posixpath.join(directory, beside["trigger_file"].format(name=own))
            triggers.setdefault(trigger, []).extend([name, f"{name}.sha256"] if sums else [name])
        #: what is beside files, and the files that are in S3 before it, and away before it
        self.told_of = {**{f"{name}.sha256": [name] for name in FILES if sums}, **triggers}
        self.all = {**FILES, **sums, **dict.fromkeys(triggers, b"trigger")}
        self.transfers = len(self.all)

    @property
    def in_s3(self) -> dict[str, bytes]:
        """What is in S3, by the names on the server. With a name on the way, a trigger keeps its own."""
        objects = self.objects()
        if "rename_to" not in self.arguments:
            return objects
        triggers = [name for name in self.all if self.all[name] == b"trigger"]
        keys = {(each if each in triggers else renamed(each)): each for each in self.all}
        return {keys.get(key, f"unknown: {key}"): data for key, data in objects.items()}

    def prepare(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        self.s3.empty(self.bucket)
        write_tree(self.root, self.all)
        for name in self.all:
            os.utime(self.root / name, (WHEN, WHEN))

    def check_after_kill(self) -> None:
        tree, objects = read_tree(self.root), self.in_s3
        table.checked(len(FILES))
        table.none_is("wrong bytes", [key for key, data in objects.items() if self.all.get(key) != data])
        table.none_is("lost", [name for name in self.all if name not in tree and objects.get(name) != self.all[name]])
        for trigger, names in self.told_of.items():
            table.none_is("wrong marks", [each for each in names if trigger in objects and each not in objects])
            table.none_is("wrong marks", [each for each in names if trigger not in tree and each in tree])
            gone = all(each not in tree for each in names)
            table.none_is("wrong marks", [trigger] if gone and trigger not in objects else [])
        self.kills += 1

    def retry(self) -> None:
        self.run_again()
        assert self.in_s3 == self.all
        done = {done_path(name): data for name, data in self.all.items()} if self.after == "move" else {}
        assert read_tree(self.root) == done
        table.none_is("left over", self.s3.unfinished_uploads(self.bucket))


class LastSweep(PartnerSweep):
    """A run in which some files go after all others of their directory."""

    def __init__(self, direction: str, *args: Any, **arguments: Any) -> None:
        super().__init__(direction, *args, last="again.csv", **arguments)
        self.transfers = len(FILES)

    def prepare(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        self.s3.empty(self.bucket)
        if self.direction == "push":
            self.store(FILES)
            return
        write_tree(self.root, FILES)
        for name in FILES:
            os.utime(self.root / name, (WHEN, WHEN))

    def there(self) -> dict[str, bytes]:
        """Return what has come to the other side."""
        found = self.objects() if self.direction == "pull" else read_tree(self.root)
        return {name: found[name] for name in found if not name.endswith(".part")}

    def check_after_kill(self) -> None:
        there = self.there()
        table.checked(len(FILES))
        table.none_is("wrong bytes", [name for name, data in there.items() if FILES.get(name) != data])
        for last, others in (("sub/again.csv", ["sub/large"]), ("again.csv", list(FILES))):
            table.none_is("wrong marks", [each for each in others if last in there and each not in there])
        if self.direction == "pull":
            tree = read_tree(self.root)
            table.none_is("lost", [name for name in FILES if name not in tree and name not in there])
        else:
            table.none_is("wrong marks", marked_keys(self.bucket) - set(there))
        self.kills += 1

    def retry(self) -> None:
        self.run_again()
        if self.direction == "pull":
            assert self.objects() == FILES
            assert read_tree(self.root) == {done_path(name): data for name, data in FILES.items()}
            table.none_is("left over", self.s3.unfinished_uploads(self.bucket))
        else:
            assert read_tree(self.root) == FILES
            assert marked_keys(self.bucket) == set(FILES)


class PushSweep(PartnerSweep):
    def __init__(self, kind: str, *args: Any) -> None:
        super().__init__("push", *args, **PUSHES[kind])
        self.waits = self.arguments.get("on_conflict") == "wait"
        self.trigger: str = self.arguments.get("trigger_file", "")
        self.sums = "checksum_file" in self.arguments
        self.transfers = len(FILES) - (len(OLD) if self.waits else 0)

    def prepare(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        self.s3.empty(self.bucket)
        write_tree(self.root, self.taken)
        if self.trigger:
            write_tree(self.root, {self.trigger_of(name): b"old" for name in OLD})
        if self.sums:
            write_tree(self.root, with_sums(OLD))
        prefix = self.arguments.get("s3_prefix", "")
        self.store({prefix + name: data for name, data in FILES.items()}, Metadata={"mtime": str(WHEN)})

    def trigger_of(self, name: str) -> str:
        """Return the trigger that tells of a file."""
        directory, name = posixpath.split(name)
        return posixpath.join(directory, self.trigger.format(name=name))

    def check_triggers(self) -> None:
        """One that is there tells of whole files only, the old ones or the new ones; a mark comes after its trigger."""
        tree, marked = read_tree(self.root), marked_keys(self.bucket)
        for name in FILES:
            trigger = self.trigger_of(name)
            told_of = [each for each in FILES if self.trigger_of(each) == trigger]
            files = OLD if tree.get(trigger) == b"old" else FILES if trigger in tree else {}
            table.none_is("wrong bytes", [each for each in told_of if each in files and tree.get(each) != files[each]])
            all_are_marked = marked.issuperset(told_of)
            table.none_is("wrong marks", [trigger] if all_are_marked and tree.get(trigger) != b"" else [])
        table.none_is("wrong marks", [key for key in marked if tree.get(key) != FILES[key]])
        if self.sums:
            right = with_sums({name: tree[name] for name in FILES if name in tree})
            sums = {name: f"{name}.sha256" for name in FILES}
            table.none_is("wrong bytes", [each for each in sums.values() if each in tree and tree[each] != right[each]])
            announced = [name for name in FILES if name in marked or self.trigger_of(name) in tree]
            table.none_is("wrong marks", [name for name in announced if sums[name] not in tree])
        table.checked(len(FILES))
        self.kills += 1

    def check_after_kill(self) -> None:
        if self.trigger:
            self.check_triggers()
            return
        tree, objects = read_tree(self.root), self.objects()
        table.checked(len(FILES))
        table.none_is("lost", [name for name, data in self.taken.items() if tree.get(name) != data])
        there = {name for name in FILES if FILES[name] in tree.values()}
        table.none_is("lost", [name for name in FILES if name not in objects and name not in there])
        table.none_is("wrong marks", [key for key in marked_keys(self.bucket) if key not in there])
        own = {self.target(name) for name in FILES}
        allowed = own if self.waits else own | {beside(name, number) for name in own for number in ("", "-1")}
        named = {name: data for name, data in tree.items() if not name.endswith(".part")}
        table.none_is("wrong bytes", set(named) - allowed)
        ours = set(named) - set(self.taken)
        table.none_is("wrong bytes", [name for name in ours if named[name] not in FILES.values()])
        if "file_mode" in self.arguments:
            modes = {name: (self.root / name).stat() for name in ours}
            assert {(stat.st_mode & 0o777, int(stat.st_mtime)) for stat in modes.values()} <= {(0o640, WHEN)}
        self.kills += 1

    def retry(self) -> None:
        report = self.run_again()
        self.check_after_kill()
        self.kills -= 1
        tree = read_tree(self.root)
        assert not [name for name in tree if name.endswith(".part")], "left over"
        if self.trigger:
            sums = with_sums(FILES) if self.sums else {}
            assert tree == {**FILES, **sums, **{self.trigger_of(name): b"" for name in FILES}}
            assert marked_keys(self.bucket) == set(FILES)
            return
        if not self.waits:
            assert marked_keys(self.bucket) == set(FILES)
            counts = [list(tree.values()).count(FILES[name]) for name in FILES]
            assert max(counts) <= 2, "once by the run that was killed, and once by its retry"
            return
        # What waits is what the partner has a file of, its own or the killed run's.
        assert report["skipped"][WAITS] >= len(OLD)
        delivered = {name for name in FILES if FILES[name] == tree.get(self.target(name))}
        assert delivered == set(FILES) - set(OLD)
        for name in tree:
            (self.root / name).unlink()
        with self.run() as third:
            third.go()
            report = third.report(PATIENCE)
        self.wait_until_quiet()
        assert WAITS not in report["skipped"]
        tree = read_tree(self.root)
        assert {name: tree[name] for name in OLD} == {name: FILES[name] for name in OLD}
        assert self.objects() == ({} if self.takes_away else FILES)


@pytest.mark.parametrize("shard", SHARDS[::2])
@pytest.mark.parametrize("kind", PULLS)
def test_a_pull_is_killed_at_each_step(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, kind: str, shard: int
) -> None:
    """Each file is in S3 once in the end, under the one name that it has to have."""
    kill_at_each_step(PullSweep(kind, sftp_server, s3, bucket), sftp_server, s3, shard)


@pytest.mark.parametrize("shard", SHARDS[::2])
@pytest.mark.parametrize(
    ("beside", "after"),
    [
        ({"trigger_file": "{name}.ok"}, "move"),
        ({"trigger_file": "_SUCCESS"}, "move"),
        ({"trigger_file": "{name}.ok"}, "delete"),
        ({"checksum_file": "{name}.sha256"}, "move"),
        ({"checksum_file": "{name}.sha256", "trigger_file": "_SUCCESS"}, "delete"),
        ({"checksum_file": "{name}.sha256", "trigger_file": "{name}.ok", "rename_to": "{dir}/new_{name}"}, "move"),
    ],
)
def test_a_pull_of_files_with_something_beside_is_killed_at_each_step(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, beside: dict[str, str], after: str, shard: int
) -> None:
    """It is in S3 after its files, and away after them; what is left alone is finished by the retry."""
    kill_at_each_step(AwaitedSweep(beside, after, sftp_server, s3, bucket), sftp_server, s3, shard)


@pytest.mark.parametrize("shard", SHARDS[::2])
@pytest.mark.parametrize("kind", PUSHES)
def test_a_push_is_killed_at_each_step(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, kind: str, shard: int
) -> None:
    """Nothing of the partner's is replaced, and each object is there in the end."""
    kill_at_each_step(PushSweep(kind, sftp_server, s3, bucket), sftp_server, s3, shard)


@pytest.mark.parametrize("shard", SHARDS[::2])
@pytest.mark.parametrize(("direction", "arguments"), [("pull", {}), ("push", {}), ("push", {"s3_keys": list(FILES)})])
def test_a_run_with_last_files_is_killed_at_each_step(
    sftp_server: AsyncsshServer, s3: S3Server, bucket: str, direction: str, arguments: dict[str, Any], shard: int
) -> None:
    """None of them is ever there before all others, and all are in the end."""
    kill_at_each_step(LastSweep(direction, sftp_server, s3, bucket, **arguments), sftp_server, s3, shard)
