"""The files of the page of all flows, as an ASGI app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

FILES = Path(__file__).parent / "static"

#: The page can run its own files only, and ask Airflow only: whatever a partner calls a file stays text.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cache-control", b"no-cache"),  # an upgrade shows at once
]


class Page:
    """
    Serves the page. Airflow lets anybody have what a plugin serves, so there is no data in it: the page asks Airflow's
    REST API, which knows who is asking.
    """

    def __init__(self) -> None:
        self._files: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._files is None:
            # Not at the top: every process of Airflow's makes this object, and only the API server needs more of it.
            from starlette.staticfiles import StaticFiles

            self._files = StaticFiles(directory=FILES, html=True)

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        await self._files(scope, receive, with_headers)
