"""What a directory on the server holds: read to its end, where it has one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConnectionFailed, ServerRefused
from airflow_provider_sftp_s3.engine.options import MiB
from airflow_provider_sftp_s3.engine.sftp.protocol import Entry, SftpProtocol
from airflow_provider_sftp_s3.engine.tasks import cancel_all, has_failed

#: Requests for more names of one directory that are on the way at once.
MAX_LISTINGS_AHEAD = 16
#: Names that one directory may have, and their bytes in all: so many take some 600 MB of memory.
MAX_ENTRIES = 2_000_000
MAX_NAMES_BYTES = 256 * MiB
#: Seconds for what was asked for behind the end of a directory, which some servers never answer.
BEHIND_THE_END = 1.0
#: How often a server may list each name, and how many names it may repeat in any case. Some list a few names twice.
MAX_REPEATS = 3
MAX_REPEATED = 1000


async def entries_of(
    sftp: SftpProtocol, handle: bytes, path: bytes, *, in_order: bool, ahead: bool = True
) -> list[Entry] | None:
    """
    Return all entries of a directory but ``.`` and ``..``, sorted by name, names as the server gives them.

    None: what was asked for ahead is not answered, and may be names. It has to be listed anew, with none of that.

    Of a name that the server lists several times, as some do, it is the first entry. But object stores have files and
    directories of one name: then it is both.

    :param handle: of the directory, open; it stays so.
    :param path: of the directory, for the errors.
    :param in_order: the server does what it is asked in that order, as OpenSSH's own does. Another one may do several
        requests at once, and then any of them comes to the end first.
    :param ahead: ask for more before an answer tells that there is more.
    :raises ServerRefused: the server says no, or goes on for ever: with the same names again and again, or with more
        names than :data:`MAX_ENTRIES`, or longer ones than :data:`MAX_NAMES_BYTES` in all.
    """
    entries: dict[bytes, Entry] = {}
    both: dict[bytes, Entry] = {}
    given = names_bytes = 0
    asked: list[asyncio.Future[list[Entry]]] = []
    depth, at_end = 2, False
    try:
        while not at_end:
            # An answer holds some hundred names: a far-away server is asked for more and more of them at once.
            depth = min(depth * 2, MAX_LISTINGS_AHEAD) if ahead else 1
            asked = [sftp.read_directory(handle, path) for _ in range(depth)]
            for number, answer in enumerate(asked, 1):
                found = await answer
                if not found:
                    at_end = True
                    behind = [] if in_order else await _behind_the_end(asked[number:])
                    if behind is None:
                        return None
                    found = behind
                given += len(found)
                for entry in found:
                    first = entries.setdefault(entry.name, entry)
                    if first is entry:
                        names_bytes += len(entry.name)
                    elif {first.kind, entry.kind} == {"file", "directory"}:
                        both[entry.name] = entry
                _check_that_it_ends(path, given, len(entries), names_bytes)
                if at_end:
                    break
    finally:
        cancel_all(asked)
    listed = [entries[name] for name in sorted(entries) if name not in (b".", b"..")]
    return sorted([*listed, *both.values()], key=lambda entry: entry.name) if both else listed


async def _behind_the_end(asked: Sequence[asyncio.Future[list[Entry]]]) -> list[Entry] | None:
    """
    Return the names of the answers behind the first end of a directory, some of which may be refused.

    None: one has not come. It may be late, or the server never answers that, or has hung up.
    """
    if not asked:
        return []
    await asyncio.wait(asked, timeout=BEHIND_THE_END)
    if not all(answer.done() and not isinstance(answer.exception(), ConnectionFailed) for answer in asked):
        return None
    return [entry for answer in asked if not has_failed(answer) for entry in answer.result()]


def _check_that_it_ends(path: bytes, given: int, names: int, names_bytes: int) -> None:
    """
    Raise where the listing of a directory will not end by itself.

    :param given: names that the server has given, those among them that it has repeated.
    :param names: different ones.
    """
    if given > MAX_REPEATS * names + MAX_REPEATED:
        endless = f"the server gives its {names} names again and again"
    elif names > MAX_ENTRIES or names_bytes > MAX_NAMES_BYTES:
        endless = (
            f"there are more than {MAX_ENTRIES} names in it, or more than {MAX_NAMES_BYTES // MiB} MiB of them: move "
            "some of its files into directories beneath it"
        )
    else:
        return
    raise ServerRefused(f"{paths.printable(path)!r}: {endless}")
