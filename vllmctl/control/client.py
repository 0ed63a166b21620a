"""The command line's end of the control channel.

A few lines of HTTP/1.0 instead of `http.client`, whose import costs more than a whole `status`.
"""

from __future__ import annotations

import errno
import json
import os
import struct

from vllmctl import __version__
from vllmctl.control import API, API_HEADER, VERSION_HEADER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from typing import Any
else:
    import _socket as socket  # what socket.py wraps in enums and files, which take 7 ms to import

CONNECT_TIMEOUT = 5
ANSWER_TIMEOUT = 20.0
"""Seconds that a living daemon may take to answer; it takes milliseconds, and a slow disk more."""
READING = ("/v1/reload", "/v1/diff")
READING_TIMEOUT = 150.0
"""For these requests: a file is read for them, and vLLM may have to be asked for its flags."""


class NoDaemon(Exception):
    """Nobody listens on the socket."""


class ClientError(Exception):
    """The daemon cannot be talked to; the text is a sentence with the remedy."""


class OtherVersion(ClientError):
    """The daemon speaks another version of the channel."""


class Reply:
    """What the daemon answered: an HTTP status and a JSON document. By hand: `dataclasses` takes as
    long to import as all the rest of a command."""

    __slots__ = ("body", "status", "version")

    def __init__(self, status: int, body: dict[str, Any], version: str) -> None:
        """`version` is the daemon's."""
        self.status = status
        self.body = body
        self.version = version

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class Client:
    """One request a connection."""

    def __init__(self, path: str) -> None:
        self.path = path

    def get(self, path: str) -> Reply:
        return self._ask("GET", path)

    def post(self, path: str, document: object = None) -> Reply:
        return self._ask("POST", path, b"" if document is None else json.dumps(document).encode())

    def _ask(self, method: str, path: str, body: bytes = b"") -> Reply:
        connection = self._connect()
        patience = READING_TIMEOUT if path.startswith(READING) else ANSWER_TIMEOUT
        connection.settimeout(patience)
        request = (
            f"{method} {path} HTTP/1.0\r\nHost: vllmctl\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            connection.sendall(request.encode() + body)
            answer = b"".join(_until_end(connection))
        except TimeoutError:
            what = f"did not answer within {patience:g} s"
            raise self._silent(what, f"pid {_peer_pid(connection)}") from None
        except ConnectionError:
            raise NoDaemon from None  # it died while it was asked
        finally:
            connection.close()
        return self._parse(answer)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Blocking, with the kernel's own limit: with a Python timeout the socket is non-blocking,
        # and a full backlog is an error (EAGAIN) at once instead of a wait; unix(7), socket(7).
        limit = struct.pack("ll", CONNECT_TIMEOUT, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            connection.connect(self.path)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            connection.close()
            raise NoDaemon from None
        except OSError as error:
            connection.close()
            if error.errno in (errno.EACCES, errno.EPERM):
                raise ClientError(
                    f"the control socket {self.path} belongs to somebody else; "
                    "run this as its owner or as root"
                ) from error
            if error.errno == errno.EAGAIN:  # as many wait as the kernel lets wait
                record = os.path.join(os.path.dirname(self.path), "daemon.json")
                what = f"took no connection within {CONNECT_TIMEOUT} s"
                raise self._silent(what, f"its pid is in {record}") from error
            raise ClientError(f"the control socket {self.path}: {error.strerror}") from error
        return connection

    def _silent(self, what: str, who: str) -> ClientError:
        """It could not be asked to end, either."""
        return ClientError(
            f"the daemon ({who}) {what}: it stands still, or somebody has stopped it (`kill -CONT` "
            "wakes it then); `kill -9` of it costs no model, and `vllmctl start` begins the next "
            "one, which takes them over"
        )

    def _parse(self, answer: bytes) -> Reply:
        head, _, body = answer.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            key, _, value = line.partition(":")
            headers[key.strip().lower()] = value.strip()
        api = headers.get(API_HEADER.lower())
        version = headers.get(VERSION_HEADER.lower(), "unknown")
        if not answer:
            raise NoDaemon  # it died before it answered
        if api != API:
            raise OtherVersion(
                f"the daemon on {self.path} is version {version}, this is {__version__}, and the "
                "two do not understand each other; use the daemon's own vllmctl, or replace it: "
                "`vllmctl shutdown --keep-models`, `vllmctl start`"
            )
        try:
            return Reply(int(status_line.split()[1]), json.loads(body), version)
        except (ValueError, IndexError):
            raise ClientError(
                f"the daemon's answer could not be understood: {status_line}"
            ) from None


def _peer_pid(connection: socket.socket) -> int:
    """Whoever listens there; unix(7)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def _until_end(connection: socket.socket) -> Iterator[bytes]:
    while chunk := connection.recv(1 << 18):
        yield chunk
