"""How the keys of unsynced objects are put into batches, of which each is pushed by one task."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.lasts import directory_of

#: Keys in one list of unsynced objects, and bytes of them as JSON: it is XCom, which lies in Airflow's database.
#: MariaDB refuses 16 MB, and a key of 1,000 characters outside of ASCII is 6,000 bytes or more.
MAX_KEYS = 100_000
MAX_BYTES = 8_000_000


def by_path(batches: Sequence[Sequence[str]], path_of: Mapping[str, bytes | None]) -> list[list[str]]:
    """
    Return batches in which keys that come to one path are in one, the first of them.

    There the push lets the second fail; in two, it would be written over the first, and nobody would be told.

    :param path_of: the path of each key; None: nobody knows.
    """
    first: dict[bytes, int] = {}
    sorted_anew: list[list[str]] = [[] for _ in batches]
    for number, batch in enumerate(batches):
        for key in batch:
            path = path_of[key]
            sorted_anew[number if path is None else first.setdefault(path, number)].append(key)
    return [batch for batch in sorted_anew if batch]


def in_groups(keys: Sequence[str], batch_files: int, group_of: Callable[[str], str]) -> list[list[str]]:
    """Return keys in batches of so many, with all of a group in one, though that be larger."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(group_of(key), []).append(key)
    batches: list[list[str]] = []
    for several in groups.values():
        if not batches or len(batches[-1]) + len(several) > batch_files:
            batches.append([])
        batches[-1] += several
    return batches


def with_last_ones(last_keys: Iterable[str], group_of: Callable[[str], str]) -> Callable[[str], str]:
    """
    Return what groups keys so that each last one (`last`) is together with all that it waits for.

    That is what is in its directory, and beneath it. A push that has only some of it would let the last one wait for
    the next run.

    :param group_of: groups the other keys.
    """
    directories = {directory_of(key) for key in last_keys}

    def group(key: str) -> str:
        top, directory = None, directory_of(key)
        while True:
            if directory in directories:
                top = directory
            if not directory:
                return group_of(key) if top is None else top
            directory = directory_of(directory)

    return group


def whole_directories(keys: Sequence[str]) -> list[str]:
    """
    Return those of the keys of a list that was cut whose directories are whole in it.

    Those of the last key's directory, and of those that it is in, wait for the next run.

    :raises ConfigurationError: that is all of them.
    """
    last = keys[-1]
    whole = [key for key in keys if (name := posixpath.dirname(key)) and not last.startswith(f"{name}/")]
    if not whole:
        raise ConfigurationError(
            f"trigger_file keeps the objects of a directory together, and {posixpath.dirname(last)!r} has more "
            f"than {MAX_KEYS} that are not pushed, or more than {MAX_BYTES} bytes of their keys: push them with no "
            "list of keys, by an S3ToSftpOperator alone, or from directories beneath it"
        )
    return whole
