"""The servers of ``make servers``: what each cannot do. docs/servers.md has this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tests.support.more_sftp_servers import DropbearServer, GreenEndServer, NodeSftpServer
from tests.support.sftp_servers import (
    AsyncsshServer,
    ErlangSftpServer,
    OpenSshServer,
    ProftpdServer,
    RcloneSftpServer,
    SftpServer,
)

Feature = Literal["emoji", "retention"]
"""What not every server can do: names with characters above U+FFFF, and mtimes that stay as they are set."""


@dataclass(frozen=True)
class Tried:
    """
    One server.

    :param name: what it is, with its version.
    :param gaps: what it cannot do, and why.
    """

    name: str
    kind: type[SftpServer]
    gaps: Mapping[Feature, str] = field(default_factory=dict)


TRIED = (
    Tried("OpenSSH 9.2", OpenSshServer),
    Tried("ProFTPD 1.3.8, mod_sftp", ProftpdServer),
    Tried("`rclone serve sftp` 1.75", RcloneSftpServer),
    Tried("asyncssh 2.24", AsyncsshServer),
    Tried(
        "Erlang/OTP 25 sftpd",
        ErlangSftpServer,
        gaps={"emoji": "a name with a character above U+FFFF in a directory ends the session"},
    ),
    Tried(
        "ssh2-sftp-server 1.1, on ssh2 1.17 (Node.js)",
        NodeSftpServer,
        gaps={"retention": "it does not let us set mtimes: done files are not purged, and the log says so"},
    ),
    Tried("Dropbear 2022.83, with OpenSSH's sftp-server", DropbearServer),
    Tried("Green End SFTP server 2", GreenEndServer),
)


def table() -> str:
    """Return the table that docs/servers.md has."""
    lines = ["| server | cannot |", "|---|---|"]
    for tried in TRIED:
        gaps = "; ".join(f"{feature}: {reason}" for feature, reason in tried.gaps.items())
        lines.append(f"| {tried.name} | {gaps} |")
    return "\n".join(lines)
