"""HTTP/1.1, as much of it as a client of vLLM needs: keep-alive, bodies, streamed answers.

The library's http.server would bring in email, html and ssl, and cost more than all the rest.
"""

from __future__ import annotations

import json
import select
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import ssl

_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Request Entity Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_MAX_HEAD = 65536
_MAX_BODY = 64 << 20
_IDLE = 5.0
"""Seconds that an idle connection is kept, as in vLLM."""
_STALLED = 60.0
"""Seconds that a client may take over a piece of its request, or over reading an answer."""


class Gone(Exception):
    """The client has gone away, or is not worth waiting for."""


class BadRequest(Exception):
    """What came is not HTTP; the connection is of no further use."""

    def __init__(self, status: int) -> None:
        self.status = status


class Request(NamedTuple):
    method: str
    target: str
    version: str
    headers: dict[str, str]
    """By name in lower case."""
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def keeps_alive(self) -> bool:
        wish = self.headers.get("connection", "").lower()
        return wish == "keep-alive" if self.version == "HTTP/1.0" else wish != "close"


class Connection:
    """One client. Every wait for it is bounded; one that goes away is Gone, never an error."""

    def __init__(self, client: socket.socket, peer: str) -> None:
        self._client = client
        self._buffer = b""
        self.peer = peer
        self._chunked = False
        self._keep = False
        self._bodiless = False

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._client.settimeout(_STALLED)
        try:
            self._client = context.wrap_socket(self._client, server_side=True)
        except OSError as error:  # ssl.SSLError, too
            raise Gone from error

    def request(self) -> Request | None:
        """The next request; None where the client wants no more."""
        if not self._buffer:
            self._client.settimeout(_IDLE)
            try:
                self._buffer = self._client.recv(65536)
            except OSError:
                return None
            if not self._buffer:
                return None
        self._client.settimeout(_STALLED)
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _MAX_HEAD:
                raise BadRequest(431)
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1"):
            raise BadRequest(400)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        request = Request(words[0], words[1], words[2], headers, self._body(headers))
        self._keep = request.keeps_alive
        self._bodiless = request.method == "HEAD"
        self._chunked = request.version == "HTTP/1.1"
        return request

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("expect", "").lower() == "100-continue":
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := self._size(self._line().partition(b";")[0], 16, len(body)):
                body += self._exactly(size)
                self._line()
            while self._line():
                pass  # trailers
            return body
        length = headers.get("content-length", "0").encode("latin-1")
        return self._exactly(self._size(length, 10, 0))

    @staticmethod
    def _size(text: bytes, base: int, so_far: int) -> int:
        try:
            size = int(text, base)
        except ValueError:
            raise BadRequest(400) from None
        if size < 0:
            raise BadRequest(400)
        if so_far + size > _MAX_BODY:
            raise BadRequest(413)
        return size

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > _MAX_HEAD:
                raise BadRequest(431)
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _exactly(self, size: int) -> bytes:
        pieces, have = [self._buffer], len(self._buffer)
        while have < size:
            self._buffer = b""
            self._more()
            pieces.append(self._buffer)
            have += len(self._buffer)
        whole = b"".join(pieces)
        self._buffer = whole[size:]
        return whole[:size]

    def _more(self) -> None:
        try:
            data = self._client.recv(65536)
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        self._buffer += data

    def gone(self) -> bool:
        """Whether the client has hung up while it was to wait."""
        poll = select.poll()  # not select(), which knows no descriptor above 1023
        poll.register(self._client, select.POLLIN)
        if len(self._buffer) > _MAX_HEAD or not poll.poll(0):
            return False
        try:
            self._more()  # of its next request; TLS lets nobody peek
        except Gone:
            return True
        return False

    def respond(self, status: int, content: Any, kind: str = "application/json") -> None:
        """A whole answer. What is not a string is sent as JSON."""
        text = content if isinstance(content, str) else json.dumps(content, separators=(",", ":"))
        body = text.encode()
        head = self._head(status, kind, f"content-length: {len(body)}")
        self._send(head if self._bodiless else head + body)

    def begin(self, kind: str) -> None:
        """A streamed answer: pieces follow, then end()."""
        framing = "transfer-encoding: chunked" if self._chunked else ""
        self._keep = self._keep and self._chunked
        self._send(self._head(200, kind, framing))

    def piece(self, text: str) -> None:
        data = text.encode()
        self._send(b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        if self._chunked:
            self._send(b"0\r\n\r\n")

    def stays(self) -> bool:
        """Whether another request may follow."""
        return self._keep

    def last(self) -> None:
        """Nothing will follow: the next answer says so."""
        self._keep = False

    def close(self) -> None:
        self._client.close()

    def _head(self, status: int, kind: str, framing: str) -> bytes:
        lines = [
            f"HTTP/1.1 {status} {reason(status)}",
            "server: uvicorn",
            *([framing] if framing else []),
            f"content-type: {kind}",
            *([] if self._keep else ["connection: close"]),
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    def _send(self, data: bytes) -> None:
        try:
            self._client.sendall(data)
        except OSError as error:
            raise Gone from error


def reason(status: int) -> str:
    return _REASONS[status]
