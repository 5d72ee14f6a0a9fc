"""Whether files can be moved from one directory into another: found out with no file of anybody else."""

from __future__ import annotations

import contextlib
import posixpath

from airflow_provider_sftp_s3.engine.errors import NotFound, ServerRefused
from airflow_provider_sftp_s3.engine.sftp.session import SftpSession
from airflow_provider_sftp_s3.engine.temporary import TEMP_NAME, TemporaryNames


async def why_not_movable(session: SftpSession, directory: bytes, into: bytes) -> ServerRefused | None:
    """
    Return why no file of `directory` can be moved into the directory `into`; None where nothing is known against it.

    A name that does not exist is renamed: a server that would do it says that there is no such file. Some say "failure"
    for that, too, or OK, and then an empty file of our own is moved, and removed. Where none can be made, a refusal
    counts if the server knows the word for what is missing, and has not used it.
    """
    path = TemporaryNames(TEMP_NAME).aside_for(posixpath.join(directory, b"file"))
    moved = posixpath.join(into, posixpath.basename(path))
    try:
        await session.replace(path, moved)
    except NotFound:
        return None
    except ServerRefused as refused:
        return await _why_not_with_a_file(session, path, moved, refused)
    return await _why_not_with_a_file(session, path, moved, None)


async def _why_not_with_a_file(
    session: SftpSession, path: bytes, moved: bytes, refused: ServerRefused | None
) -> ServerRefused | None:
    is_made = False
    try:
        async with session.creating(path) as file:
            is_made = True
            await file.close()
            await session.replace(path, moved)
    except NotFound:
        return None  # taken away once it was closed, perhaps
    except ServerRefused as again:
        if is_made:
            if await session.sees(moved):  # some copy it, and leave the old one where it was
                session.discard(moved)
            return again
        if refused is None or refused.is_generic:
            return None
        return refused if await _knows_what_is_missing(session, path) else None
    with contextlib.suppress(ServerRefused):
        await session.remove(moved)
    return None


async def _knows_what_is_missing(session: SftpSession, path: bytes) -> bool:
    try:
        return not await session.exists(path)
    except ServerRefused:
        return False
