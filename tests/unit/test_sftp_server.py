"""Which server to reach: what of it may be shown, and what contradicts itself."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sftp_s3.engine.errors import ConfigurationError
from airflow_provider_sftp_s3.engine.sftp.server import SftpServer

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("host", "port", "path", "uri"),
    [
        ("example.com", 22, b"/a/b", "sftp://example.com:22/a/b"),
        ("example.com", 2222, b"a", "sftp://example.com:2222/a"),
        ("::1", 22, b"/", "sftp://[::1]:22/"),
        ("h", 22, b"/\x1b[2J", "sftp://h:22/\\x1b[2J"),
    ],
)
def test_a_path_on_the_server_is_a_printable_uri(host: str, port: int, path: bytes, uri: str) -> None:
    """The same for every user; an IPv6 address is in brackets."""
    assert SftpServer(host=host, port=port, username="u").uri_of(path) == uri


def test_a_servers_repr_has_no_secret() -> None:
    """It may land in a log, or in a traceback."""
    text = repr(SftpServer(host="h", password="pass-1", private_key="key-2", passphrase="phrase-3"))
    assert "h" in text
    assert not [secret for secret in ("pass-1", "key-2", "phrase-3") if secret in text]


def test_a_key_to_check_and_no_check_contradict_each_other() -> None:
    """Whichever was meant, the other would do harm."""
    with pytest.raises(ConfigurationError, match="remove one of the two"):
        SftpServer(host="h", host_key="ssh-ed25519 AAAA", verify_host_key=False)


@pytest.mark.parametrize("settings", [{"host_key": "ssh-ed25519 AAAA"}, {"verify_host_key": False}, {}])
def test_a_key_or_no_check_alone_is_taken(settings: dict[str, Any]) -> None:
    """Host and port are what errors call the server."""
    assert SftpServer(host="h", port=2222, **settings).where == "h:2222"
