"""The names of what is ours: on an object, where users' own must be others, and beside it."""

from __future__ import annotations

import posixpath
import secrets

from airflow_provider_sftp_s3.engine import paths

#: The metadata of a mark: ``synced=true`` for eyes, a token for each destination, and of the bytes that it is about
#: the last ETags and the size.
SYNCED = "synced"
SYNCED_TO = "synced-to"
SYNCED_OF = "synced-of"
SYNCED_SIZE = "synced-size"
#: sftp-lambda's own mark, which names nobody.
LEGACY = "synched"
#: The mark of version 0.1.0, a hash of bucket and key, which names nobody either.
SYNCED_KEY = "synced-key"
#: These, and when a pulled file was changed on its server.
METADATA_NAMES = (SYNCED, SYNCED_TO, SYNCED_OF, SYNCED_SIZE, LEGACY, SYNCED_KEY, "mtime")
#: The tag of a mark: ``<etag>:<token>:<token>...``.
TAG = "sftp-s3-synced"

#: An ETag that no object has.
NO_ETAG = '"00000000000000000000000000000000"'


def probe_name(key: str) -> str:
    """Return a name that does not exist, beside `key`: whoever may write one may write the other."""
    directory = posixpath.dirname(key)
    name = f"{paths.STATE}/probe-{secrets.token_hex(8)}"
    while len(long := posixpath.join(directory, name).encode()) > paths.MAX_KEY_BYTES:
        directory = posixpath.dirname(directory)
    return long.decode()
