"""A proxy on 127.0.0.1 that answers for a few hosts itself and lets nothing leave the machine."""

import json
import logging
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import trustme

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What a client asked of a host; `query` holds the last value of each name."""

    method: str
    host: str
    path: str
    query: Mapping[str, str]
    headers: Message
    body: bytes = b""

    def json(self) -> dict[str, Any]:
        """The body as a JSON object, empty where it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Response:
    """An answer; its length is told by the proxy. `what` names it in the log of requests.

    One that is `cut` breaks off: its connection ends in the middle of the body. One that trickles
    comes byte by byte, `trickle` seconds apart.
    """

    body: bytes = b""
    kind: str = "text/html; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    what: str = ""
    video_id: str = ""
    cut: bool = False
    trickle: float = 0.0


Site = Callable[[Request], Response]
Route = Callable[[str], Site | None]
"""The site that answers for a host, or None where there is none."""


def json_response(content: object, what: str = "", video_id: str = "") -> Response:
    """An answer in JSON."""
    body = json.dumps(content).encode()
    return Response(body, "application/json; charset=utf-8", what=what, video_id=video_id)


def missing(what: str = "") -> Response:
    """Not found."""
    return Response(b"<html><title>404 Not Found</title></html>", status=404, what=what)


class Proxy(ThreadingHTTPServer):
    """Answers CONNECT on a free port of 127.0.0.1 and ends TLS with certificates of its own.

    A host without a site gets 502. Every request of the others is a JSON line of `record`.
    """

    daemon_threads = True

    def __init__(self, route: Route, record: Path | None = None):
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.route = route
        self.authority = trustme.CA()
        self._record = record
        self._lock = threading.Lock()
        self._contexts: dict[str, ssl.SSLContext] = {}

    @property
    def address(self) -> str:
        """The proxy's URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def context(self, host: str) -> ssl.SSLContext:
        """TLS in the name of a host."""
        with self._lock:
            if host not in self._contexts:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.set_alpn_protocols(["http/1.1"])
                self.authority.issue_cert(host).configure_cert(context)
                self._contexts[host] = context
            return self._contexts[host]

    def note(self, **what: object) -> None:
        """Append a line to the record of requests."""
        if self._record:
            with self._lock, self._record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(what) + "\n")

    def handle_error(self, *_: object) -> None:
        """Log what broke a connection."""
        log.warning("a connection to the sample world broke", exc_info=True)


class _Tunnel(BaseHTTPRequestHandler):
    """The proxy's side of a connection: CONNECT, then TLS to the site that it names."""

    server: Proxy
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_CONNECT(self) -> None:
        self.close_connection = True
        host = self.path.rpartition(":")[0]
        site = self.server.route(host)
        if site is None:
            self.server.note(host=host, status=502, what="refused")
            self.send_error(502, f"the sample world has no {host}")
            return
        self.send_response(200, "Connection established")
        self.end_headers()
        try:
            with self.server.context(host).wrap_socket(self.connection, server_side=True) as tls:
                _Tls(tls, self.client_address, self.server, host, site)
        except OSError as error:  # the client hung up, or does not trust the certificate
            log.debug("%s: %s", host, error)

    def do_GET(self) -> None:
        self.server.note(host=self.path, status=502, what="refused")
        self.send_error(502, "the sample world answers over TLS only")

    def log_message(self, *_: object) -> None:
        """Say nothing: the record has it all."""


class _Tls(BaseHTTPRequestHandler):
    """The site's side of a connection."""

    server: Proxy
    protocol_version = "HTTP/1.1"
    timeout = 60
    wbufsize = -1
    disable_nagle_algorithm = True

    def __init__(self, tls: socket, client: tuple[str, int], server: Proxy, host: str, site: Site):
        self.host, self.site = host, site
        super().__init__(tls, client, server)

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        request = Request(
            self.command,
            self.host,
            address.path,
            dict(parse_qsl(address.query, keep_blank_values=True)),
            self.headers,
            self.rfile.read(int(self.headers.get("Content-Length") or 0)),
        )
        response = self.site(request)
        self.server.note(
            host=request.host,
            method=request.method,
            path=request.path,
            query=request.query,
            status=response.status,
            what=response.what,
            video_id=response.video_id,
        )
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", response.kind)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        body = response.body[: len(response.body) // 2] if response.cut else response.body
        for place in range(len(body)) if response.trickle else ():
            self.wfile.write(body[place : place + 1])
            self.wfile.flush()
            time.sleep(response.trickle)
        if not response.trickle:
            self.wfile.write(body)
        self.close_connection |= response.cut

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing: the record has it all."""
