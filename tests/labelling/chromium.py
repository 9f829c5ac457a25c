"""Headless Chromium, driven through its DevTools protocol by a small websocket client."""

import base64
import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

KEYS = {"Enter": 13, "Backspace": 8, "Escape": 27, " ": 32, "ArrowRight": 39, "ArrowDown": 40, "ArrowLeft": 37}


def executable() -> str:
    """The path of Chromium; the test is skipped where there is none."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chrome"))), "")
    if not found:
        pytest.skip("no chromium on PATH, and $CHROMIUM does not name one")
    return found


class Tab:
    """A page; what is asked of it is answered in order."""

    def __init__(self, address: str) -> None:
        host, _, path = address.removeprefix("ws://").partition("/")
        name, _, port = host.partition(":")
        self._socket = socket.create_connection((name, int(port)), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._stream = self._socket.makefile("rb")
        assert b"101" in self._stream.readline()
        while self._stream.readline().strip():
            pass
        self._number = 0

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def call(self, method: str, **parameters):
        self._number += 1
        message = json.dumps({"id": self._number, "method": method, "params": parameters}).encode()
        mask = os.urandom(4)
        length = len(message)
        head = struct.pack("!BB", 0x81, 0x80 | length) if length < 126 else struct.pack("!BBH", 0x81, 0xFE, length)
        self._socket.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(message)))
        while True:
            reply = json.loads(self._message())
            if reply.get("id") == self._number:
                assert "error" not in reply, reply
                return reply["result"]

    def _message(self) -> bytes:
        content = b""
        while True:
            first, length = self._stream.read(2)
            if length == 126:
                (length,) = struct.unpack("!H", self._stream.read(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", self._stream.read(8))
            content += self._stream.read(length)
            if first & 0x80:
                return content

    def evaluate(self, expression: str):
        """The value of a JavaScript expression; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, expression: str, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"{expression}: {self.evaluate('document.body.innerText')}"
            time.sleep(0.005)

    def press(self, key: str) -> None:
        code = KEYS.get(key, ord(key[0].upper()))
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        common = {"key": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def write(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def go(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def screenshot(self, path: Path, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """Writes a .png of the page at a size in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        hover = {"name": "hover", "value": "none" if phone else "hover"}
        self.call("Emulation.setEmulatedMedia", features=[scheme, hover])
        time.sleep(0.3)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


class Browser:
    def __init__(self, port: int) -> None:
        self._port = port
        self.tabs: list[Tab] = []

    def tab(self, address: str = "about:blank") -> Tab:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/new?{address}", method="PUT")
        with urllib.request.urlopen(request) as reply:
            tab = Tab(json.load(reply)["webSocketDebuggerUrl"])
        self.tabs.append(tab)
        tab.call("Page.enable")
        return tab


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own."""
    command = [executable(), "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    command += ["--remote-allow-origins=*", "--no-first-run", "--disable-background-networking", "--mute-audio"]
    command += ["--disable-background-timer-throttling", "--disable-renderer-backgrounding"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([*command, f"--user-data-dir={profile}", "about:blank"], **quiet) as process:
            try:
                said, end = Path(profile, "DevToolsActivePort"), time.monotonic() + 30
                while not (said.exists() and said.read_text().count("\n")):
                    assert process.poll() is None, "chromium has ended"
                    assert time.monotonic() < end, "chromium does not listen"
                    time.sleep(0.05)
                started = Browser(int(said.read_text().split("\n")[0]))
                yield started
                for tab in started.tabs:
                    tab.close()
            finally:
                process.terminate()
                process.wait(20)
