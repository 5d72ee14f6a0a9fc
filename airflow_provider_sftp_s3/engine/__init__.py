"""
The transfer engine: plain asyncio Python, usable with no Airflow at all.

:func:`pull_tree` and :func:`push_objects` are all that a program needs; docs/engine.md has an example. The other names
here are their arguments, their result and their errors. Each is imported when it is first asked for.

Where every file comes in, in the order in which a run comes to them:

1. What a run is told: `settings` (what is moved, and where to), `options` (time, memory, open files), `globs` and
   `paths` (names: what is taken, what is refused, how a name becomes a key and a key a path), `model` (the values that
   travel through the engine, and the report), `errors` (each type says what to do next).
2. `api` opens server and bucket, and hands them to `pull` or `push`. **Read these two first**: each is its protocol,
   step by step. `transfer` is what both share: how a run begins and ends.
3. What there is to move: `listing` (the walked tree, the listed prefix), `unsynced` (the objects that are not pushed
   yet), `kept` (the files of a pull that S3 has already), `order` (sizes and ages that are taken, the oldest first),
   `lasts` (files that go after all others).
   What it is called at its target: `rename` (names by `rename_to`), `keys` (those of a pull), `naming` (two sources of
   one name).
4. A run does many files at once: `run` (their number, every outcome collected, lost connections), `limits` (memory,
   caps, the time of one file), `observer` (who is told), `log` (an observer that writes a log), `standstill` (was it
   this process that said nothing?), `tasks` (the asyncio tasks that nobody waits for).
5. One file of a pull: `fetch` (from the server into S3), `whole` (was all of it read?), `movable` (can it be moved
   afterwards?), `done` (the done directory: the move and the stamp), `done_dir` (its name, and that of a day in it),
   `aside` (an older file of its name in there), `purge`, `clock` (S3's time, by which it is purged). One of a push:
   `strip` (which piece of a key is left out), `delivery` (from S3 into a file at the target), `temporary` (how that is
   called until it is whole), `attributes` (its mode and its mtime), `triggers` (names of files that tell of others),
   and `announcement` (when those of a push are made). `awaited` (a file waits for its trigger) and `pulled_triggers`
   (that goes after it) are a pull's. Of a push, too: `places` (the path of each object, and whose it is) and
   `publication` (in which order a file, and what stands beside it, get their names). Checksum files: `checksum_files`
   (what is in one), `delivered_sums` (of a push) and `pulled_sums` (of a pull).
6. `sftp/` is the server. `server` says which one, and how to know it; `line` is the socket to it, `login` what asyncssh
   is given to log in with, and `keys` reads keys as people paste them. `connection` logs in over SSH, and `packets`
   makes and takes the packets of the connection; `protocol` speaks SFTP; `link` is one connection with a watchdog on
   it, and `session` opens it again when it is lost; `file` is one open file, `handles` says how many may be open,
   `entries` reads what a directory holds, `replace` puts a new file in an old one's place, `directories` makes those of
   a push, `traits` has what a run has learned of the server.
7. `s3/` is the bucket. `bucket` has the calls that a run needs; `versions` is what they give of one object, `pages`
   what they list; `endpoint` says where it is, and `extra_args` what is sent along, both in botocore's words;
   `requests` sends single ones, `sigv4` signs them, `xml` reads the answers; `upload` sends what is large, `multipart`
   what that one has no words for; `checksums` compares, `content_type` guesses, `refusals` tells a bucket that takes
   nothing, `left_uploads` removes what killed tries have left; `names` has those of what is ours; `marks` says which
   bytes are at which destination, `probes` finds out which kind of mark is safe on the store at hand, `only_new` stores
   what must replace nothing, `sent` moves or deletes what is not marked, `ledger` remembers what S3 has said of many
   objects, and `receipts` keeps what became of each file.

Imports go down only: `sftp/` and `s3/` know nothing of each other, nor of `pull` and `push`. tests/unit/test_layers.py
holds that.
"""

from typing import TYPE_CHECKING

from airflow_provider_sftp_s3._lazy import names_from

if TYPE_CHECKING:
    from airflow_provider_sftp_s3.engine.api import pull_tree, push_objects
    from airflow_provider_sftp_s3.engine.errors import (
        AuthenticationFailed,
        ConfigurationError,
        ConnectionFailed,
        HostKeyError,
        PlaceMissing,
        SftpS3Error,
        TransferError,
    )
    from airflow_provider_sftp_s3.engine.log import LogObserver
    from airflow_provider_sftp_s3.engine.model import Outcome, Report
    from airflow_provider_sftp_s3.engine.observer import Observer, Progress
    from airflow_provider_sftp_s3.engine.options import TransferOptions
    from airflow_provider_sftp_s3.engine.settings import PullSettings, PushSettings
    from airflow_provider_sftp_s3.engine.sftp.connection import SftpServer

__all__ = [
    "AuthenticationFailed",
    "ConfigurationError",
    "ConnectionFailed",
    "HostKeyError",
    "LogObserver",
    "Observer",
    "Outcome",
    "PlaceMissing",
    "Progress",
    "PullSettings",
    "PushSettings",
    "Report",
    "SftpS3Error",
    "SftpServer",
    "TransferError",
    "TransferOptions",
    "pull_tree",
    "push_objects",
]

_MODULES = {
    "api": ("pull_tree", "push_objects"),
    "errors": (
        *("AuthenticationFailed", "ConfigurationError", "ConnectionFailed", "HostKeyError"),
        *("PlaceMissing", "SftpS3Error", "TransferError"),
    ),
    "log": ("LogObserver",),
    "model": ("Outcome", "Report"),
    "observer": ("Observer", "Progress"),
    "options": ("TransferOptions",),
    "settings": ("PullSettings", "PushSettings"),
    "sftp.connection": ("SftpServer",),
}

if not TYPE_CHECKING:  # to mypy a module with a __getattr__ has every name
    __getattr__ = names_from(__name__, _MODULES)


def __dir__() -> list[str]:
    return __all__
