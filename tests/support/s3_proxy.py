"""A proxy on 127.0.0.1 in front of any S3 store: it tells what was asked, and lets tests step in."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Any

from tests.support.s3_server import HookedS3, S3Endpoint, S3Request

#: Of one connection, and so of no answer that goes on.
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


class S3Proxy(HookedS3):
    """
    Hands each request on as it came, its signature included.

    :param store: where to; it must be up.
    """

    def __init__(self, store: S3Endpoint) -> None:
        super().__init__()
        self.store = store
        self.access_key, self.secret_key = store.access_key, store.secret_key
        self.session_token, self.region = store.session_token, store.region

    def _carry_out(
        self, request: S3Request, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Callable[[], list[bytes]]:
        onward = http.client.HTTPConnection(self.store.host, self.store.port)
        try:
            # As it came, and not as it was read: it is signed so.
            onward.putrequest(request.method, environ["RAW_URI"], skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if value and name not in _HOP_BY_HOP:
                    onward.putheader(name, value.encode("latin-1"))
            onward.endheaders(environ["wsgi.input"].read() or None)
            answer = onward.getresponse()
            body = answer.read()
        finally:
            onward.close()
        headers = [each for each in answer.getheaders() if each[0].lower() not in _HOP_BY_HOP]

        def begin() -> list[bytes]:
            start_response(f"{answer.status} {answer.reason}", self.shown(request, headers))
            return [body]

        return begin

    def shown(self, request: S3Request, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the headers of the store's answer that are handed back."""
        return headers
