"""Serves the page to this machine only: a token in the address, checks of Host and Origin, nothing read from paths."""

import hmac
import json
import os
import secrets
import socketserver
import sys
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from efficient_jax.data import stored_image
from efficient_jax.errors import UserError
from efficient_jax.files import json_text
from efficient_jax.labelling.images import SIZES, Versions, encoded
from efficient_jax.labelling.session import Refused, Session

ADDRESS = "127.0.0.1"
MOST_BODY = 64 * 1024  # bytes of a request
SILENT = 60  # seconds after which a connection without a request is closed
WAITING = 1024  # connections that wait to be accepted
PAGE = Path(__file__).with_name("page")
FILES = {
    "": ("label.html", "text/html"),
    "label.css": ("label.css", "text/css"),
    "draw.js": ("draw.js", "text/javascript"),
    "label.js": ("label.js", "text/javascript"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
Reply = tuple[int, str, bytes]  # status, media type, content
Draw = Callable[[int, int], tuple[bytes, str]]
"""(index of an image, longest side in pixels at most) -> (a file that shows it, its media type)."""


class Views(NamedTuple):
    """What the page shows beside each other in place of an image."""

    draw: Mapping[str, Draw] = MappingProxyType({})  # name of a view -> what draws it; none: the image alone
    legend: Sequence[tuple[str, str]] = ()  # class name, and its color in CSS, "" for one that is not drawn


IMAGE_ALONE = Views()


class Server(ThreadingHTTPServer):
    """Listens on this machine only; each connection has a thread."""

    daemon_threads = True
    request_queue_size = WAITING

    @property
    def address(self) -> str:
        """The address of the page, with its token."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    token = ""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Passes over connections that a browser has closed.

        Args:
            request: the connection.
            client_address: of the other side.
        """
        if not isinstance(sys.exception(), OSError):
            socketserver.BaseServer.handle_error(self, request, client_address)


def serve(session: Session, port: int = 0, views: Views = IMAGE_ALONE) -> Server:
    """Returns a server that listens; `serve_forever` answers.

    Args:
        session: what is asked.
        port: of this machine; 0: a free one.
        views: what is shown of an image.

    Raises: OSError where the port is taken.
    """
    token = secrets.token_urlsafe(24)
    server = Server((ADDRESS, port), _handler(session, views, token))
    server.token = token
    return server


def _handler(session: Session, views: Views, token: str) -> type[BaseHTTPRequestHandler]:
    alone = Versions(lambda index, side: encoded(session.images.file(index), side))
    shown = {size: (alone, side) for size, side in SIZES.items()}
    for view, draw in views.draw.items():
        versions = Versions(draw)
        shown |= {f"{view}-{size}": (versions, side) for size, side in SIZES.items()}
    content = {name: (kind, (PAGE / file).read_bytes()) for name, (file, kind) in FILES.items()}
    about = {
        "name": os.path.basename(session.images.root) or session.images.root,
        "who": session.who,
        "several": session.store.several,
        "review": session.review is not None,
        "views": [*views.draw],
        "legend": views.legend,
    }

    def get(path: str) -> Reply:
        if path in content:
            kind, text = content[path]
            return 200, f"{kind}; charset=utf-8", text
        if path == "about":
            return _json(200, about)
        what, _, index = path.partition("/")
        if what not in shown or not index.isascii() or not index.isdigit() or len(index) > 9:
            return _json(404, {"error": "not there"})
        if int(index) >= len(session.images.names):
            return _json(404, {"error": "not there"})
        try:
            versions, side = shown[what]
            image, kind = versions.get(int(index), side)
        except Exception as error:  # a damaged file makes decoders raise anything
            return _json(422, {"error": stored_image.reason(error)})
        return 200, kind, image

    def post(path: str, body: bytes) -> Reply:
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            return _json(400, {"error": "no JSON"})
        if not isinstance(request, dict):
            return _json(400, {"error": "want an object"})
        try:
            return _json(200, session.call(path, request))
        except Refused as error:
            return _json(400, {"error": str(error)})
        except (OSError, UserError) as error:
            return _json(507, {"error": f"not saved: {getattr(error, 'strerror', None) or error}"})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "efficient_jax", ""
        timeout = SILENT
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer(get)

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit()):
                return self._send(*_json(411, {"error": "want the length"}), close=True)
            if len(length) > 9 or int(length) > MOST_BODY:
                return self._send(*_json(413, {"error": "too long"}), close=True)
            if self.headers.get_content_type() != "application/json":
                return self._send(*_json(415, {"error": "want application/json"}), close=True)
            return self._answer(lambda path: post(path, self.rfile.read(int(length))), "Origin")

        def _answer(self, reply: Callable[[str], Reply], *required: str) -> None:
            """Answers requests from the page itself; all others are refused before anything is read."""
            hosts = {f"{name}:{self.server.server_port}" for name in (ADDRESS, "localhost")}  # type: ignore[attr-defined]
            host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
            foreign = host not in hosts or (origin is None and "Origin" in required)
            foreign |= origin is not None and origin != f"http://{host}"
            foreign |= self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
            if foreign:
                return self._send(*_json(403, {"error": "not from the page"}), close=True)
            _, given, *rest = [*self.path.partition("?")[0].split("/", 2), ""]
            if not hmac.compare_digest(given.encode(), token.encode()) or not rest[:-1]:
                return self._send(*_json(404, {"error": "not there"}), close=True)
            return self._send(*reply(rest[0]))

        def _send(self, status: int, kind: str, content: bytes, close: bool = False) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "private, max-age=600" if kind.startswith("image/") else "no-store")
            for name, value in HEADERS.items():
                self.send_header(name, value)
            if close:
                self.close_connection = True
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Prints nothing: the terminal is for the person who labels."""

    return Handler


def _json(status: int, content: Mapping[str, object]) -> Reply:
    return status, "application/json", json_text(content).encode()
