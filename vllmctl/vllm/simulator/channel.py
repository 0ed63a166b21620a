"""Messages between two processes of the tree: one JSON object a packet."""

from __future__ import annotations

import json
import socket
from typing import Any

Message = dict[str, Any]

_MAX_PACKET = 65536


class Channel:
    """One end. The kernel keeps the packets apart, so there is nothing to buffer here."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, **message: Any) -> None:
        """Sends, or does nothing where the other end is gone: receive() is what says so."""
        try:
            self._end.send(json.dumps(message, separators=(",", ":")).encode())
        except OSError:
            pass

    def receive(self) -> Message | None:
        """The next message; None once the other process has ended."""
        try:
            packet = self._end.recv(_MAX_PACKET)
        except ConnectionResetError:  # it ended with messages of ours unread
            return None
        if not packet:
            return None
        message: Message = json.loads(packet)
        return message

    def close(self) -> None:
        self._end.close()


def pair() -> tuple[Channel, Channel]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(one), Channel(other)
