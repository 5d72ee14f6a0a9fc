"""What `done_dir` says: the name of the done directories, and whether each day has a directory of its own in there."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from airflow_provider_sftp_s3.engine import paths
from airflow_provider_sftp_s3.engine.errors import ConfigurationError, FileError

_DATED = "/{date}"
_DAY = re.compile(rb"\d{4}-\d\d-\d\d")


class DoneDir(NamedTuple):
    """
    Where a pull moves files that S3 has.

    :param name: of the directory beside a file, which a pull never enters.
    :param is_dated: a file goes into the directory of the Dag run's day in there.
    """

    name: bytes
    is_dated: bool

    @classmethod
    def of(cls, done_dir: object) -> DoneDir:
        """Return what the setting says. :raises ConfigurationError: it is none."""
        name = done_dir.removesuffix(_DATED) if isinstance(done_dir, str) else ""
        try:
            paths.check_name(name.replace("{date}", "/").encode())
        except (FileError, UnicodeEncodeError):
            raise ConfigurationError(
                "done_dir must be a name such as '.done', or a name and the day as in '.done/{date}', not a path: "
                f"{done_dir!r}"
            ) from None
        return cls(name.encode(), done_dir != name)

    def on(self, day: str) -> bytes:
        """Return the path, beside a file, of the directory that it goes to on a day such as ``2026-01-31``."""
        return self.name + b"/" + day.encode() if self.is_dated else self.name


def end_of_day(name: bytes) -> float | None:
    """Return when the day ends that a directory is called by, in seconds since 1970; None: it is called otherwise."""
    try:
        day = datetime.strptime(name.decode(), "%Y-%m-%d") if _DAY.fullmatch(name) else None
    except ValueError:  # such as the 30th of February
        return None
    return None if day is None else (day.replace(tzinfo=UTC) + timedelta(days=1)).timestamp()
