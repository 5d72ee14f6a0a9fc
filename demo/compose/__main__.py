"""
`python -m demo.compose ROLE`: what docker-compose.yaml calls.

* ``init``: the SSH keys of both sides and the files on the SFTP server, where `DEMO_*` of the environment say.
* ``s3 HOST PORT``: the S3 API, with its bucket filled.
* ``answers URL``, ``greets HOST PORT``: health checks of what speaks HTTP and of sshd.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

TIMEOUT = 5.0


def init() -> None:
    """Make the keys and the files that are not there yet."""
    import asyncssh

    from demo.story import put_files

    keys, server = Path(os.environ["DEMO_KEYS"]), os.environ["DEMO_SFTP_SERVER"]
    for name in ("host", "client"):
        if not (keys / name).exists():
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_public_key(keys / f"{name}.pub")
            (keys / name).touch(mode=0o600)
            key.write_private_key(keys / name)
    host, _, port = server.rpartition(":")
    # As ssh writes it: the port stands there only where it is not 22.
    pattern = host if port == "22" else f"[{host}]:{port}"
    (keys / "known_hosts").write_text(f"{pattern} {(keys / 'host.pub').read_text()}")
    root = Path(os.environ["DEMO_SFTP_ROOT"])
    if not (root / "outgoing").exists():
        (root / "incoming").mkdir(exist_ok=True)
        put_files(root / "outgoing")


def s3(host: str, port: str) -> None:
    """Serve until this process is ended."""
    from demo.servers import S3Server
    from demo.story import put_objects

    server = S3Server(int(port), host)
    server.start()
    put_objects(server.client())
    signal.pause()


def answers(url: str) -> None:
    """Return if `url` is there. :raises OSError: it is not."""
    urllib.request.urlopen(url, timeout=TIMEOUT).close()


def greets(host: str, port: str) -> None:
    """Return if an SSH server speaks there. :raises OSError: none does."""
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
        if not connection.recv(4).startswith(b"SSH"):
            raise ConnectionError("no SSH server")


if __name__ == "__main__":
    roles: dict[str, Callable[..., None]] = {"init": init, "s3": s3, "answers": answers, "greets": greets}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    roles[sys.argv[1]](*sys.argv[2:])
