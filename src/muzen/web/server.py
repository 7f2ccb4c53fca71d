"""The server of the page: the standard library's HTTP server, which nothing that is sent to it brings down.

It answers this machine only, unless told otherwise; a page of another site that a browser shows at the same time cannot
use it, by its own name (Origin), by a name that it makes point here (Host), or by a form (Content-Type).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import json
import os
import socket
import sys
import threading
import traceback
import urllib.parse
import webbrowser
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from muzen.errors import ConfigError
from muzen.play import GameSession
from muzen.web.api import Api, ApiError
from muzen.web.tables import Tables

MOST_BYTES = 256 * 1024
# Seconds after which a connection that says nothing is closed.
PATIENCE_S = 60
PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/board.js": ("board.js", "text/javascript; charset=utf-8"),
    "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/favicon.ico": ("icon.svg", "image/svg+xml"),
}
# Hosts that mean every address of this machine, and the one that its own browser takes.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PlayServer(ThreadingHTTPServer):
    """Serves the page and its interface.

    Args:
      host, port: where to listen; port 0 takes a free one.
      api: answers what the page asks.
      debug: print the traceback of an error of our own.

    Raises:
      ConfigError: nothing can listen there.
    """

    daemon_threads = True
    # Elsewhere this lets a port be used again at once; on Windows it would let two servers share it.
    allow_reuse_address = os.name != "nt"

    def __init__(self, host: str, port: int, api: Api, debug: bool = False):
        if not 0 <= port <= 65535:
            raise ConfigError(f"port: {port} is not from 0 to 65535")
        self.api, self.host, self.debug = api, host, debug
        self._connections: set[socket.socket] = set()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except OSError as error:
            raise ConfigError(_cannot_listen(host, port, error)) from error

    def server_bind(self) -> None:
        """Binds, without the reverse look-up of a name that nobody asks for."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(self.allow_reuse_address))
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.host, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers a connection in a thread of its own."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Ends everything, connections that browsers keep open included."""
        super().server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # its own thread may have been faster
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the page."""
        host = _ANY.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"

    @property
    def url_elsewhere(self) -> str:
        """Where a browser on another machine finds it, where that can be said."""
        return f"http://{socket.gethostname()}:{self.server_port}/" if self.host in _ANY else self.url

    def is_known(self, header: str) -> bool:
        """Whether a Host header is a name of ours: an address, localhost, or the host that was asked for."""
        try:
            name = urllib.parse.urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        if name in ("localhost", self.host.casefold()):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._machine_names
        return True  # an address is nobody's name: it cannot be made to point elsewhere

    @functools.cached_property
    def _machine_names(self) -> tuple[str, ...]:
        """What a network calls this machine: NAME, NAME.local, or one in a domain; asked once, for it may take long."""
        own = socket.gethostname().casefold()
        return own, f"{own}.local", socket.getfqdn().casefold()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in mid-answer is no news."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            self.complain(error)

    def complain(self, error: BaseException | None) -> None:
        """An error of our own, on standard error."""
        if self.debug:
            traceback.print_exception(error)
        else:
            print(f"{type(error).__name__}: {error} (more with --debug)", file=sys.stderr, flush=True)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: PlayServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # of a line that names none: an older one would get no headers
    server_version, sys_version = "muzen", ""
    timeout = PATIENCE_S

    def _answer(self) -> None:
        headers: dict[str, str] = {}
        try:
            self._check()
            path = self._path()
            if self.command in ("GET", "HEAD") and path in PAGE:
                name, kind = PAGE[path]
                return self._send(200, resources.files("muzen.web").joinpath("static", name).read_bytes(), kind)
            body = self._body() if self.command == "POST" else None
            method = "GET" if self.command == "HEAD" else self.command
            if path in PAGE:
                raise ApiError(405, "MethodNotAllowed", f"{method}: not here; use GET", {"Allow": "GET, HEAD"})
            status, answer = 200, self.server.api.answer(method, path, body)
        except ApiError as error:
            status, answer, headers = error.status, error.body, error.headers
        except (ConnectionError, TimeoutError):
            raise  # it went away, or says nothing more
        except Exception as error:  # the boundary of one request: the server goes on
            self.server.complain(error)
            message = "something is wrong with the server, and it has said what on its standard error"
            status, answer = 500, {"error": {"kind": "ServerError", "message": message}}
        self._send(status, json.dumps(answer).encode(), "application/json", headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _answer

    def _path(self) -> str:
        """The path that is asked for, without the query."""
        try:
            return urllib.parse.urlsplit(self.path).path
        except ValueError as error:
            raise ApiError(400, "BadAddress", f"the address makes no sense: {error}") from error

    def _check(self) -> None:
        """Refuses what another site's page could send."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if len(self.headers.get_all("Host", [])) != 1 or not self.server.is_known(host):
            self.close_connection = True
            raise ApiError(
                403, "UnknownHost", "Host: is not a name of this server; use the address that it printed, or --host"
            )
        if origin is not None and origin.partition("://")[2].casefold() != host.casefold():
            self.close_connection = True
            raise ApiError(403, "ForeignOrigin", "Origin: a page of another site may not play here")
        if self.command != "POST" and (self.headers.get("Content-Length", "0") != "0" or self._is_chunked()):
            self.close_connection = True  # a body that nobody reads would be taken for the next request

    def _body(self) -> Any:
        """The JSON of a POST."""
        length = self.headers.get("Content-Length", "")
        self.close_connection, stays = True, self.close_connection
        if self._is_chunked() or not length:
            raise ApiError(411, "LengthRequired", "Content-Length: missing; say how long the body is")
        if not (length.isascii() and length.isdecimal()):
            raise ApiError(400, "BadLength", "Content-Length: is not a number")
        if len(length) > 9 or int(length) > MOST_BYTES:
            raise ApiError(413, "TooLarge", f"the body is larger than {MOST_BYTES:,} bytes")
        if self.headers.get_content_type() != "application/json":
            raise ApiError(415, "WrongType", "Content-Type: is not application/json")
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise ConnectionResetError("the browser went away before it had said everything")
        self.close_connection = stays
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, "BadJson", f"the body is not JSON: {str(error)[:80]}") from error

    def _is_chunked(self) -> bool:
        return "Transfer-Encoding" in self.headers

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **_HEADERS}.items():
            self.send_header(name, value)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the library itself finds wrong with a request, in JSON like everything else."""
        # It has a method for every method that HTTP knows here, so its "not implemented" is one that HTTP doesn't.
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self.close_connection = True
        self.command = getattr(self, "command", None) or "GET"
        error = {"kind": status.phrase.title().replace(" ", ""), "message": message or status.description}
        self._send(status, json.dumps({"error": error}).encode(), "application/json")

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: the terminal is the person's."""


def serve(
    new_game: Callable[..., GameSession],
    *,
    seed: int | None = None,
    asked: str = "",
    host: str = "127.0.0.1",
    port: int = 8642,
    open_browser: bool = True,
    debug: bool = False,
    say: Callable[[str], None] = print,
) -> int:
    """Serve the page until Ctrl-C.

    Args:
      new_game: makes a session; takes the options of `GameSession`.
      seed: of all chance in the first game.
      asked: what the person asked for, in any words; a page brings back the game of a server of other words no more.
      host, port: where to listen; port 0 takes a free one.
      open_browser: show the page, where there is a screen.
      debug: print tracebacks of errors of our own.
      say: tells the person where the page is.

    Returns:
      The exit code.

    Raises:
      ConfigError: nothing can listen there.
    """
    with PlayServer(host, port, Api(Tables(new_game, seed=seed, asked=asked)), debug) as server:
        first = new_game()
        first.analyse()  # compiles the search before anyone waits for it
        say(f"{first.name} is served at {server.url} (Ctrl-C ends)")
        if not _is_loopback(host):
            say(f"from another machine: {server.url_elsewhere}, or this one's address in place of the name")
            say(f"warning: {host} is not loopback: everyone who reaches this machine can play, and keep it busy")
        if open_browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("stopped; the page keeps an unfinished game until the server is back with the same flags")
    return 0


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"host: {host} is not a name or address of this machine; the default is 127.0.0.1"
    if error.errno == errno.EADDRINUSE:
        return f"port: {port} is in use at {host}; choose another with --port, or --port 0 for a free one"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"host: {host} is not an address of this machine; the default is 127.0.0.1"
    return f"port: cannot listen at {host}, port {port}: {error.strerror or error}; choose another with --port"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _has_screen() -> bool:
    """Whether a browser would open a window, and not take over the terminal."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
