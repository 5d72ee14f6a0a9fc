"""An SFTP server and an S3 server on 127.0.0.1, each in a thread of this process."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import asyncssh
import boto3
from botocore.config import Config
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

from demo.ports import HOST

REGION = "eu-central-1"
ACCESS_KEY, SECRET_KEY = "demo", "demo-secret"
USER, PASSWORD = "demo", "demo-password"  # Airflow masks none that is shorter than five letters


class SftpServer:
    """
    asyncssh's server: `root` is the client's ``/``, and files there are this machine's files.

    :param listener: the listening socket.
    :param refused_once: a directory such as ``/incoming/locked`` in which the first file is refused. Not a file, since
        a push opens one under a temporary name.
    """

    def __init__(self, root: Path, listener: socket.socket, refused_once: str) -> None:
        self.root = root
        self.refused_once = refused_once
        #: How often a file was refused: 0 or 1.
        self.refusals = 0
        self.url = f"sftp://{USER}@{HOST}:{listener.getsockname()[1]}"
        self.password = PASSWORD
        self._listener = listener
        self._key = asyncssh.generate_private_key("ssh-ed25519")

    def start(self) -> None:
        """Answer; until this process ends."""
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve(ready)), name="sftp-server", daemon=True).start()
        if not ready.wait(10):
            raise RuntimeError("the SFTP server did not start")

    async def _serve(self, ready: threading.Event) -> None:
        _acceptor = await asyncssh.listen(
            sock=self._listener,
            server_factory=_Login,
            server_host_keys=[self._key],
            sftp_factory=lambda channel: _Files(channel, self),
        )
        ready.set()
        await asyncio.Event().wait()

    def connection(self) -> dict[str, Any]:
        """Return this server as an Airflow connection."""
        host, port = self._listener.getsockname()
        key = self._key.export_public_key().decode().strip()
        login = {"login": USER, "password": PASSWORD}
        return {"conn_type": "sftp", "host": host, "port": port, **login, "extra": {"host_key": key}}


class _Login(asyncssh.SSHServer):
    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)


class _Files(asyncssh.SFTPServer):
    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], server: SftpServer) -> None:
        super().__init__(channel, chroot=os.fsencode(server.root))
        self._server = server

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        directory = os.fsdecode(os.path.dirname(path))  # noqa: PTH120 - a path on the server
        if directory == self._server.refused_once and not self._server.refusals:
            self._server.refusals += 1
            raise asyncssh.SFTPPermissionDenied("the demo refuses the first file here")
        return super().open(path, pflags, attrs)


class S3Server:
    """moto's S3, in this process's memory, which keeps the conditions of a copy, as AWS does and moto does not."""

    def __init__(self, port: int, host: str = HOST) -> None:
        self.url = f"http://{HOST}:{port}"
        self._place = (host, port)
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._one_at_a_time = threading.Lock()

    def start(self) -> None:
        """Answer; until this process ends."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = make_server(*self._place, self._answer, threaded=True, request_handler=MotoRequestHandler)
        threading.Thread(target=server.serve_forever, name="s3-server", daemon=True).start()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        with self._one_at_a_time:  # moto is not made for threads
            if failed := _failed_condition(environ):
                start_response(failed, [("Content-Type", "application/xml")])
                return [b"<Error><Code>PreconditionFailed</Code></Error>"]
            return list(self._moto(environ, start_response))

    def client(self) -> Any:
        """Return a boto3 client."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(s3={"addressing_style": "path"}),
        )

    def connection(self) -> dict[str, Any]:
        """Return this server as an Airflow connection."""
        extra = {"endpoint_url": self.url, "region_name": REGION}
        return {"conn_type": "aws", "login": ACCESS_KEY, "password": SECRET_KEY, "extra": extra}


def _failed_condition(environ: dict[str, Any]) -> str:
    """Return the status of a copy whose conditions do not hold, "" where they do."""
    source = environ.get("HTTP_X_AMZ_COPY_SOURCE", "")
    wanted, destination = environ.get("HTTP_X_AMZ_COPY_SOURCE_IF_MATCH"), environ.get("HTTP_IF_MATCH")
    if source and wanted and _etag(urllib.parse.unquote(source)) not in (None, wanted.strip('"')):
        return "412 Precondition Failed"
    if source and destination:
        path = environ["PATH_INFO"].encode("latin-1").decode()
        etag = _etag(path)
        return "404 Not Found" if etag is None else "" if etag == destination.strip('"') else "412 Precondition Failed"
    return ""


def _etag(path: str) -> str | None:
    """Return the ETag of the object at ``/bucket/key``, None where there is none."""
    bucket, _, key = path.lstrip("/").partition("/")
    found = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_object(bucket, key)
    return None if found is None else str(found.etag).strip('"')
