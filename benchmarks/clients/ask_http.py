"""Asks for the status over a Unix socket again and again: vllmctl (JSON), supervisord (XML-RPC).

    ask_http.py SOCKET vllmctl|supervisord SECONDS

Prints, as all the clients here do, a JSON object: calls, the longest one in ms, and how many
running programs the last answer showed. One connection, kept open; standard library only.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import time

XML = (
    b"<?xml version='1.0'?><methodCall><methodName>supervisor.getAllProcessInfo</methodName>"
    b"<params></params></methodCall>"
)
REQUESTS = {
    "vllmctl": b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
    "supervisord": b"POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\n"
    b"Connection: keep-alive\r\nContent-Length: %d\r\n\r\n%s" % (len(XML), XML),
}
RUNNING = {"vllmctl": rb'"state": ?"RUNNING"', "supervisord": rb"<string>RUNNING</string>"}
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def main() -> None:
    path, kind, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    calls, worst, body = 0, 0.0, b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            connection.sendall(REQUESTS[kind])
            body = read_answer(connection)
            worst = max(worst, time.perf_counter() - begin)
            calls += 1
    running = len(re.findall(RUNNING[kind], body))
    print(json.dumps({"calls": calls, "worst_ms": worst * 1000, "running": running}))


def read_answer(connection: socket.socket) -> bytes:
    """The body of one answer that says how long it is."""
    data = connection.recv(1 << 20)
    while b"\r\n\r\n" not in data:
        data += receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1] != b"200":
        sys.exit(f"answered {head!r}")
    length = LENGTH.search(head)
    assert length is not None, head
    parts, missing = [body], int(length[1]) - len(body)
    while missing > 0:
        parts.append(receive(connection))
        missing -= len(parts[-1])
    return b"".join(parts)


def receive(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 20)
    if not data:
        sys.exit("the connection was closed")
    return data


if __name__ == "__main__":
    main()
