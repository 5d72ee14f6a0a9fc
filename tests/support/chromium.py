"""Debian's Chromium without a screen, driven by its DevTools protocol: https://chromedevtools.github.io."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import httpx
from websockets.sync.client import connect

PROGRAM = "chromium"
#: Seconds until a wait fails; it takes a hundredth of it on a machine that has nothing else to do.
TIMEOUT = 300.0
#: What the protocol says where another page has just come in the place of the one that was asked.
MOVED_ON = ("navigated or closed", "Cannot find context", "context was destroyed", "Promise was collected")
#: As a keyboard sends them: key -> code, number.
KEYS = {"Tab": ("Tab", 9), "Enter": ("Enter", 13), "Escape": ("Escape", 27), "/": ("Slash", 191)}


class Chromium:
    """
    One window of a browser of its own.

    :param directory: for its profile; everything in it goes away with it.
    """

    def __init__(self, directory: Path, width: int = 1400, height: int = 900) -> None:
        self._profile = directory
        self._size = (width, height)
        self._open = contextlib.ExitStack()
        self._ids = itertools.count(1)
        self._events: list[dict[str, Any]] = []

    @staticmethod
    def available() -> bool:
        return shutil.which(PROGRAM) is not None

    @staticmethod
    def missing() -> str:
        return f"there is no {PROGRAM}: apt-get install {PROGRAM}"

    def __enter__(self) -> Self:
        self._profile.mkdir(parents=True)
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        options += ["--disable-background-networking", "--disable-component-update", "--no-proxy-server"]
        options += [f"--user-data-dir={self._profile}", "--remote-debugging-port=0", "--hide-scrollbars"]
        with (self._profile / "log").open("wb") as log:
            self._process = subprocess.Popen([PROGRAM, *options, "about:blank"], stdout=log, stderr=log)
        self._open.callback(self._end)
        with contextlib.ExitStack() as on_failure:
            on_failure.push(self._open)
            self._socket = self._open.enter_context(
                # No pings: on a busy machine it may be late with them, and nothing between us could cut the line.
                connect(self._window(), max_size=None, compression=None, proxy=None, ping_interval=None)
            )
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
            self.resize(*self._size)
            self.call("Emulation.setTimezoneOverride", timezoneId="Europe/Berlin")
            on_failure.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT)
        shutil.rmtree(self._profile, ignore_errors=True)

    def _window(self) -> str:
        """Return the address of the window's DevTools, once there is one."""
        chosen = self._profile / "DevToolsActivePort"
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if chosen.exists() and (lines := chosen.read_text().splitlines()):
                with (
                    contextlib.suppress(httpx.TransportError),  # not yet
                    httpx.Client(trust_env=False, timeout=TIMEOUT) as client,
                ):
                    targets = client.get(f"http://127.0.0.1:{lines[0]}/json/list").json()
                    found = [each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page"]
                    if found:
                        return str(found[0])
            time.sleep(0.1)
        raise TimeoutError(f"{PROGRAM} does not start:\n{(self._profile / 'log').read_text()[-3000:]}")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; return its result. :raises RuntimeError: it has failed."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(TIMEOUT))
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return dict(message["result"])
            self._events.append(message)

    def evaluate(self, expression: str) -> Any:
        """Return what a JavaScript expression, or the promise that it is, comes to."""
        options = {"awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", expression=expression, **options)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Return the first value of an expression that is true."""
        deadline = time.monotonic() + TIMEOUT
        while not (value := self._evaluate_if_there(expression)):
            if time.monotonic() > deadline:
                text = self.evaluate("document.body.innerText")
                raise TimeoutError(f"{expression} is not true; the page says:\n{text}\n{self.complaints()}")
            time.sleep(0.1)
        return value

    def _evaluate_if_there(self, expression: str) -> Any:
        """Return what an expression comes to, and None where the page has gone meanwhile."""
        try:
            return self.evaluate(expression)
        except RuntimeError as failed:
            if not any(words in str(failed) for words in MOVED_ON):
                raise
            return None

    def open(self, url: str) -> None:
        """Go to an address, as if there had been no page before it; its requests are counted from here."""
        self.call("Page.navigate", url="about:blank")
        self.wait_for("location.href === 'about:blank'")
        self._events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")

    def sign_in(self, url: str, token: str | None) -> None:
        """Be the user whose token it is, at an Airflow's address; nobody: None."""
        self.call("Network.clearBrowserCookies")
        if token is not None:
            self.call("Network.setCookie", name="_token", value=token, url=url, httpOnly=True)

    def press(self, key: str) -> None:
        """Press a key, as a person would."""
        code, number = KEYS[key] if key in KEYS else (f"Key{key.upper()}", ord(key.upper()))
        text = {"Enter": "\r", "Tab": "", "Escape": ""}.get(key, key)
        event = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def prefer(self, theme: str) -> None:
        """Have a system with a ``dark`` or a ``light`` theme."""
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def resize(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self, path: Path) -> None:
        """Write what the window shows as a PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def requests(self) -> list[str]:
        """Return the addresses of all requests since the page was opened."""
        self.evaluate("1")  # what has come so far
        sent = [each["params"] for each in self._events if each["method"] == "Network.requestWillBeSent"]
        return [str(each["request"]["url"]) for each in sent]

    def complaints(self) -> list[str]:
        """
        Return what the browser complains of since the page was opened: scripts, policies, dialogs, exceptions.

        That there is no such thing (404) is an answer, and no complaint.
        """
        self.evaluate("1")
        found = []
        for event in self._events:
            parameters = event["params"]
            if event["method"] == "Page.javascriptDialogOpening":
                found.append(f"dialog: {parameters['message']}")
            elif event["method"] == "Runtime.exceptionThrown":
                found.append(f"exception: {parameters['exceptionDetails']}")
            elif event["method"] == "Log.entryAdded":
                entry = parameters["entry"]
                if entry["level"] == "error" and not (entry["source"] == "network" and "404" in entry["text"]):
                    found.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")
        return found
