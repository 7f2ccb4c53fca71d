"""The server over real sockets: whatever is sent to it, it answers in JSON and goes on."""

from __future__ import annotations

import concurrent.futures
import http.client
import importlib.resources
import json
import re
import socket
import threading

import pytest

pyspiel = pytest.importorskip("pyspiel")

from playing import session  # noqa: E402

from muzen.errors import ConfigError  # noqa: E402
from muzen.web import server as server_module  # noqa: E402
from muzen.web.api import Api  # noqa: E402
from muzen.web.server import MOST_BYTES, PAGE, PlayServer, serve  # noqa: E402
from muzen.web.tables import Tables  # noqa: E402

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server():
    with PlayServer("127.0.0.1", 0, Api(Tables(session))) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server, method, path, body=None, headers=None):
    """(status, headers, body) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def raw(server, data: bytes) -> bytes:
    """Everything that the server says to these bytes."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as made:
        made.sendall(data)
        made.shutdown(socket.SHUT_WR)
        said = b""
        while chunk := made.recv(65536):
            said += chunk
        return said


def is_alive(server):
    status, _, body = ask(server, "POST", "/api/games", "{}", JSON)
    return status == 200 and json.loads(body)["ply"] == 0


@pytest.mark.parametrize("path", PAGE)
def test_the_page_and_all_that_it_needs_come_from_the_server(server, path):
    status, headers, body = ask(server, "GET", path)
    assert status == 200 and body and headers["Content-Type"] == PAGE[path][1]
    assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["X-Content-Type-Options"] == "nosniff"
    assert ask(server, "HEAD", path)[2] == b""


def test_the_page_needs_nothing_from_elsewhere():
    static = importlib.resources.files("muzen.web").joinpath("static")
    for name in {name for name, _ in PAGE.values()}:
        text = static.joinpath(name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]+\.[a-z]", text), name
        assert all(f"/{used}" in PAGE for used in re.findall(r"""(?:href|src|from) ?=?"/([\w.]+)""", text)), name


def test_a_game_is_played_over_http(server):
    _, _, body = ask(server, "POST", "/api/games", "{}", JSON)
    path = f"/api/games/{json.loads(body)['id']}"
    assert ask(server, "POST", f"{path}/move", '{"action": 4, "version": 0}', JSON)[0] == 200
    status, _, body = ask(server, "POST", f"{path}/reply", '{"version": 1}', JSON)
    assert status == 200 and json.loads(body)["ply"] == 2
    assert json.loads(ask(server, "GET", path)[2])["ply"] == 2


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/nothing", None, {}, 404),
        ("GET", "/../../../etc/passwd", None, {}, 404),
        ("GET", "/static/../server.py", None, {}, 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", None, {}, 404),
        ("GET", "/..%5c..%5cserver.py", None, {}, 404),
        ("GET", "/app.js/../../server.py", None, {}, 404),
        ("DELETE", "/api/games", None, {}, 405),
        ("POST", "/", "{}", JSON, 405),
        ("PUT", "/api/games", None, {}, 405),
        ("DELETE", "/app.js", None, {}, 405),
        ("OPTIONS", "/api/games", None, {}, 405),
        ("BREW", "/api/games", None, {}, 405),
        ("POST", "/api/games", "{", JSON, 400),
        ("POST", "/api/games", "", JSON, 400),
        ("POST", "/api/games", b"\xff\xfe", JSON, 400),
        ("POST", "/api/games", "[" * 100_000, JSON, 400),
        ("POST", "/api/games", "[1]", JSON, 400),
        ("POST", "/api/games", '{"seed": NaN}', JSON, 400),
        ("POST", "/api/games", "{}", {}, 415),
        ("POST", "/api/games", "{}", {"Content-Type": "text/plain"}, 415),
        ("POST", "/api/games", "{}", {**JSON, "Origin": "http://evil.example"}, 403),
        ("POST", "/api/games", "{}", {**JSON, "Origin": "null"}, 403),
        ("GET", "/", None, {"Host": "evil.example"}, 403),
        ("GET", "/api/games/x", None, {"Host": "evil.example:8642"}, 403),
        ("GET", "/", None, {"Host": ""}, 403),
        ("GET", "/", None, {"Host": "[::1"}, 403),
        ("GET", "/" + "a" * 70_000, None, {}, 414),
        ("GET", "/", None, {f"X-{i}": "1" for i in range(200)}, 431),
    ],
)
def test_a_bad_request_gets_an_error_in_json_and_the_server_goes_on(server, capfd, method, path, body, headers, status):
    answered, said, text = ask(server, method, path, body, headers)
    assert answered == status
    assert said["Content-Type"] == "application/json"
    assert json.loads(text)["error"]["message"]
    assert is_alive(server)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"GET / HTTP/1.1\r\n\r\n", b"403"),  # no Host
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", b"403"),
        (b"POST /api/games HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\r\n", b"411"),
        (
            b"POST /api/games HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            b"411",
        ),
        (b"POST /api/games HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", b"400"),
        (b"POST /api/games HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999999\r\n\r\n", b"413"),
        (b"POST /api/games HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (MOST_BYTES + 1), b"413"),
    ],
)
def test_bytes_that_are_no_request_are_answered_and_survived(server, capfd, data, status):
    said = raw(server, data)
    assert said.split(b" ", 2)[1] == status and b"application/json" in said
    assert is_alive(server)
    assert "Traceback" not in capfd.readouterr().err


def test_a_browser_that_goes_away_in_mid_request_is_no_news(server, capfd):
    half = (
        b"POST /api/games HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    )
    assert raw(server, half) == b""
    for _ in range(5):
        made = socket.create_connection(("127.0.0.1", server.server_port))
        made.sendall(b"GET /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
        # Closed with a reset, as a browser that crashes does.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        made.close()
    assert is_alive(server)
    assert capfd.readouterr().err == ""


def test_a_body_that_was_not_read_is_not_taken_for_a_request(server):
    hidden = b"GET /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    asked = b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(hidden), hidden)
    assert raw(server, asked).count(b"HTTP/1.1 ") == 1


def test_the_server_is_known_by_address_and_localhost(server):
    own = socket.gethostname()
    for host in ("127.0.0.1", "localhost", "LOCALHOST:8642", "[::1]:80", "127.0.0.1:99", own, f"{own}.local:80"):
        assert ask(server, "GET", "/", None, {"Host": host})[0] == 200
    own = f"127.0.0.1:{server.server_port}"
    assert ask(server, "POST", "/api/games", "{}", {**JSON, "Origin": f"http://{own}"})[0] == 200


def test_many_requests_at_once_leave_every_game_in_order(server):
    paths = [f"/api/games/{json.loads(ask(server, 'POST', '/api/games', '{}', JSON)[2])['id']}" for _ in range(4)]

    def storm(path):
        """Both tabs play: of each move exactly one is taken."""
        return [ask(server, "POST", f"{path}/move", '{"action": 4, "version": 0}', JSON)[0] for _ in range(2)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(storm, paths * 2))
    assert sorted(status for pair in answers for status in pair) == [200] * 4 + [409] * 12
    assert all(json.loads(ask(server, "GET", path)[2])["ply"] == 1 for path in paths)


def test_an_error_of_our_own_is_500_in_json_and_one_line_for_the_person(server, capfd, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(server.api, "answer", broken)
    status, _, body = ask(server, "GET", "/api/games/x")
    assert status == 500 and "planted" not in body.decode()
    assert capfd.readouterr().err == "ZeroDivisionError: planted (more with --debug)\n"


def test_an_address_that_makes_no_sense_is_a_bad_request(server, capfd):
    said = raw(server, b"GET http://[ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400 ") and b"BadAddress" in said
    assert capfd.readouterr().err == "" and is_alive(server)


def test_a_browser_that_says_no_more_is_no_news(server, capfd, monkeypatch):
    monkeypatch.setattr(server_module.Handler, "timeout", 0.2)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as made:
        made.sendall(b"POST /api/games HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n")
        made.sendall(b"Content-Length: 50\r\n\r\n{")
        assert made.recv(100) == b""  # closed without a word
    assert capfd.readouterr().err == "" and is_alive(server)


def test_a_busy_port_says_the_way_out(server):
    with pytest.raises(
        ConfigError, match=rf"port: {server.server_port} is in use at 127.0.0.1; choose another with --p"
    ):
        PlayServer("127.0.0.1", server.server_port, server.api)


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("no such host", 0, "host: no such host is not a name or address of this machine"),
        ("203.0.113.7", 0, "host: 203.0.113.7 is not an address of this machine"),
        ("127.0.0.1", 70_000, "port: 70000 is not from 0 to 65535"),
        ("127.0.0.1", -1, "port: -1 is not from 0"),
    ],
)
def test_a_place_where_nothing_can_listen_is_refused(host, port, said):
    with pytest.raises(ConfigError, match=said):
        PlayServer(host, port, Api(Tables(session)))


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_serving_says_where_and_warns_off_loopback(monkeypatch, host, warned):
    def interrupted(self, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr(PlayServer, "serve_forever", interrupted)
    monkeypatch.setattr(server_module, "_has_screen", lambda: False)
    said: list[str] = []
    assert serve(session, host=host, port=0, say=said.append) == 0
    assert re.match(r"openspiel:tic_tac_toe is served at http://127\.0\.0\.1:\d+/ \(Ctrl-C ends\)", said[0])
    assert any("warning: 0.0.0.0 is not loopback" in line for line in said) == warned
    elsewhere = rf"from another machine: http://{re.escape(socket.gethostname())}:\d+/"
    assert any(re.match(elsewhere, line) for line in said) == warned
    assert said[-1].startswith("stopped")


@pytest.mark.parametrize("wanted", [True, False])
def test_a_browser_is_opened_where_there_is_a_screen_and_it_is_wanted(monkeypatch, wanted):
    opened = threading.Event()
    monkeypatch.setattr(server_module, "_has_screen", lambda: True)
    monkeypatch.setattr(server_module.webbrowser, "open", lambda url: opened.set())
    monkeypatch.setattr(PlayServer, "serve_forever", lambda self, *_: opened.wait(5 if wanted else 0.05))
    assert serve(session, port=0, open_browser=wanted, say=lambda _: None) == 0
    assert opened.is_set() == wanted
