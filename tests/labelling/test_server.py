"""Requests that are not from the page are refused; none is lost."""

import http.client
import json
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from efficient_jax.labelling import server, session
from efficient_jax.labelling.images import listed
from efficient_jax.labelling.queue import Queue
from efficient_jax.labelling.session import Session
from efficient_jax.labelling.store import Store

HOSTILE = "<img src=x onerror=alert(1)>.png"


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b.png", HOSTILE):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / name)
    (folder / "broken.png").write_bytes(b"no image")
    (tmp_path / "secret.txt").write_text("secret")
    images, _ = listed(str(folder), "--images")
    store = Store(tmp_path / "labels.csv", False)
    session.start(store, ["cat", "dog"], "anna")
    serving = server.serve(Session(images, store, Queue(range(len(images.names))), "anna"))
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield serving, store
    serving.shutdown()
    serving.server_close()
    thread.join()
    store.close()


def ask(serving, method, path, body=None, **headers):
    """(status, headers, content) of a request as the page makes it, but for `headers`; None leaves one out."""
    host = f"127.0.0.1:{serving.server_port}"
    usual = {"Host": host, "Origin": f"http://{host}", "Content-Type": "application/json"}
    sent = {k.replace("_", "-"): v for k, v in {**usual, **headers}.items() if v is not None}
    connection = http.client.HTTPConnection("127.0.0.1", serving.server_port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if content is not None and "Content-Length" not in sent and "Transfer-Encoding" not in sent:
            sent["Content-Length"] = str(len(content))
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders(content)
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def label(index=0, name="cat", **more):
    answers = [{"id": uuid.uuid4().hex, "index": index, "kind": "label", "labels": [name]}]
    return {"tab": "1", "held": [], "count": 3, "answers": answers, **more}


def test_the_page_and_its_images_are_there(served):
    serving, _ = served
    root = f"/{serving.token}/"
    for path, kind in (
        ("", "text/html"),
        ("label.js", "text/javascript"),
        ("draw.js", "text/javascript"),
        ("label.css", "text/css"),
    ):
        status, headers, _ = ask(serving, "GET", root + path, Origin=None)
        assert (status, headers.get_content_type()) == (200, kind)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
    assert ask(serving, "GET", root + "one/0", Origin=None)[0] == 200
    assert json.loads(ask(serving, "GET", root + "about", Origin=None)[2])["who"] == "anna"
    assert ask(serving, "POST", root + "answer", label())[0] == 200


def test_only_this_machine_can_connect(served):
    serving, _ = served
    assert serving.server_address[0] == "127.0.0.1"
    other = socket.socket()
    with other:
        assert other.connect_ex(("127.0.0.2", serving.server_port)) != 0


WRONG = [
    {"Host": "evil.example"},
    {"Host": "evil.example:80", "Origin": "http://evil.example:80"},
    {"Host": "127.0.0.1"},
    {"Host": None},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "https://127.0.0.1"},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
]


@pytest.mark.parametrize("headers", WRONG)
def test_foreign_hosts_and_origins_are_refused(headers, served):
    serving, store = served
    before = store.log.read_bytes()
    assert ask(serving, "POST", f"/{serving.token}/answer", label(), **headers)[0] == 403
    assert ask(serving, "GET", f"/{serving.token}/one/0", **headers)[0] == 403
    assert store.log.read_bytes() == before


def test_an_answer_without_an_origin_is_refused(served):
    serving, store = served
    assert ask(serving, "POST", f"/{serving.token}/answer", label(), Origin=None)[0] == 403
    assert not store.answers.outcomes


@pytest.mark.parametrize("token", ["", "x", "%C3%A4", "%00", "..", "{token}x", "{short}", "{upper}"])
def test_a_wrong_token_is_refused(token, served):
    serving, store = served
    token = token.format(token=serving.token, short=serving.token[:-1], upper=serving.token.swapcase())
    for method, path, body in (("GET", "", None), ("GET", "one/0", None), ("POST", "answer", label())):
        path = f"/{token}/{path}"
        assert ask(serving, method, path, body)[0] == 404
    assert not store.answers.outcomes


PATHS = ["../secret.txt", "one/../../secret.txt", "one/%2e%2e%2fsecret.txt", "/etc/passwd", "one//etc/passwd", "one/-1"]
PATHS += [
    "one/4",
    "one/99999999999999999999",
    "one/%D9%A3",
    "one/0x1",
    "one/",
    "other/0",
    "page/label.html",
    "one/0/0",
    "../server.py",
]


@pytest.mark.parametrize("path", PATHS)
def test_paths_name_nothing_but_indices(path, served):
    serving, _ = served
    status, _, content = ask(serving, "GET", f"/{serving.token}/{path}", Origin=None)
    assert status == 404
    assert b"secret" not in content


def test_an_image_that_cannot_be_read_says_why(served):
    serving, store = served
    index = list(listed(str(store.table.with_name("images")), "")[0].names).index("broken.png")
    status, _, content = ask(serving, "GET", f"/{serving.token}/one/{index}", Origin=None)
    assert (status, json.loads(content)) == (422, {"error": "not an image"})


def test_a_name_with_html_stays_text(served):
    serving, store = served
    status, headers, content = ask(serving, "POST", f"/{serving.token}/next", {"tab": "1", "held": [], "count": 9})
    assert (status, headers.get_content_type()) == (200, "application/json")
    assert headers["X-Content-Type-Options"] == "nosniff"
    (item,) = [item for item in json.loads(content)["items"] if item["file"] == HOSTILE]
    assert ask(serving, "POST", f"/{serving.token}/answer", label(item["index"]))[0] == 200
    assert HOSTILE in store.table.read_text()
    script = "".join(path.read_text() for path in server.PAGE.glob("*.js"))
    assert "innerHTML" not in script
    assert "insertAdjacentHTML" not in script
    assert "document.write" not in script


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
def test_other_methods_are_refused(method, served):
    serving, _ = served
    assert ask(serving, method, f"/{serving.token}/answer")[0] == 501


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Length": "1000000000"}, 413),
        ({"Content_Length": "9" * 30}, 413),
        ({"Content_Length": "-1"}, 411),
        ({"Content_Length": "x"}, 411),
        ({"Transfer_Encoding": "chunked"}, 411),
        ({"Content_Type": "text/plain"}, 415),
    ],
)
def test_huge_and_other_bodies_are_refused_unread(headers, status, served):
    serving, store = served
    start = time.monotonic()
    assert ask(serving, "POST", f"/{serving.token}/answer", b"", **headers)[0] == status
    assert time.monotonic() - start < 5
    assert not store.answers.outcomes


BODIES = [
    b"",
    b"{",
    b"[]",
    b"\xff",
    b"[" * 60_000,
    {"tab": 1},
    {"tab": ""},
    {"tab": "x" * 1000},
    label(index=True),
    label(index=-1),
    label(index=4),
    label(index="0"),
    label(name="bird"),
    label(name=["cat"]),
    label(held=[99]),
    label(held="0"),
    label(held=[0] * 100),
    label(count=0),
    label(count=10**9),
    label(list="all"),
    label(answers=[]),
    label(answers=None),
    label(answers=[{"id": "1", "index": 0, "kind": "label", "labels": []}]),
    label(answers=[{"id": "1", "index": 0, "kind": "none", "labels": ["cat"]}]),
    label(answers=[{"id": "1", "index": 0, "kind": "label", "labels": ["cat", "dog"]}]),
    label(answers=[{"id": "1", "index": 0, "kind": "undo"}]),
    label(answers=[{"index": 0, "kind": "none"}]),
    label(answers=[{"id": "1", "index": 0, "kind": "none"}, {"id": "2", "index": 9, "kind": "none"}]),
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_requests_that_make_no_sense_change_nothing(body, served):
    serving, store = served
    before = store.log.read_bytes()
    assert ask(serving, "POST", f"/{serving.token}/answer", body)[0] == 400
    assert store.log.read_bytes() == before


@pytest.mark.parametrize("name", ["", " ", "none", "-1", "Cat", "cat", "x" * 101, "two\nlines", None, 3])
def test_names_that_are_no_class_are_refused(name, served):
    serving, store = served
    body = {"tab": "1", "id": "1", "name": name}
    assert ask(serving, "POST", f"/{serving.token}/class", body)[0] == 400
    assert store.answers.classes == ["cat", "dog"]


def test_a_thousand_requests_at_once_are_answered_or_refused_and_nothing_is_lost(served):
    serving, store = served

    def request(i: int) -> int:
        if i % 5 == 0:
            body = label(i % 4, tab=str(i % 7))
            return ask(serving, "POST", f"/{serving.token}/answer", body)[0]
        token = serving.token if i % 2 else "wrong"
        return ask(serving, "GET", f"/{token}/grid/1")[0]

    with ThreadPoolExecutor(1000) as pool:
        statuses = list(pool.map(request, range(1000)))
    assert statuses == [200 if i % 5 == 0 or i % 2 else 404 for i in range(1000)]
    assert len(store.log.read_text().splitlines()) == 1 + 2 + 200
    assert len(store.answers.standing) == 200


def test_a_silent_connection_holds_up_nobody(served):
    serving, _ = served
    silent = [socket.create_connection(("127.0.0.1", serving.server_port)) for _ in range(20)]
    silent[0].sendall(f"POST /{serving.token}/answer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le".encode())
    start = time.monotonic()
    assert ask(serving, "POST", f"/{serving.token}/answer", label())[0] == 200
    assert time.monotonic() - start < 2
    for connection in silent:
        connection.close()
