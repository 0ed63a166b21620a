"""Ports: which one `port: auto` gets, and who listens on one."""

from __future__ import annotations

import os
import socket
from collections.abc import Set

FIRST_AUTO_PORT = 8000
"""Where the search for `port: auto` begins: vLLM's own default."""
TCP_LISTEN = "0A"
"""A listening socket's state in /proc/net/tcp (include/net/tcp_states.h)."""


def choose_port(host: str, kept: int | None, taken: Set[int]) -> int:
    """`kept` while nobody else has it, else the first that is free. Blocks: not for the loop.

    Raises OSError where none is free. Check the host first (`check_host`).
    """
    candidates = range(FIRST_AUTO_PORT, 65536)
    for port in [kept, *candidates] if kept else candidates:
        if port not in taken and _cannot_bind(host, port) is None:
            return port
    raise OSError(f"no port from {FIRST_AUTO_PORT} on is free on host {host}")


def check_host(host: str) -> None:
    """Raise OSError where no port can be opened on the host. Blocks: it may ask a name server."""
    problem = _cannot_bind(host, 0)
    if problem is not None:
        raise OSError(f"no port can be opened on host {host}: {problem}")


def listens(pids: list[int], port: int) -> bool:
    """Whether one of the processes holds a socket that listens on the port; proc_net_tcp(5).

    True also where that cannot be seen (another user's process, no /proc/net).
    """
    try:
        wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    except OSError:
        return True
    for pid in pids:
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except PermissionError:
            return True
        except OSError:
            continue  # gone
        for fd in descriptors:
            try:
                if os.readlink(f"/proc/{pid}/fd/{fd}") in wanted:
                    return True
            except OSError:
                continue  # closed meanwhile
    return False


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as file:
                rows = [line.split() for line in file.readlines()[1:]]
        except FileNotFoundError:
            continue  # no IPv6 here
        for row in rows:
            if row[3] == TCP_LISTEN and int(row[1].rpartition(":")[2], 16) == port:
                found.add(row[9])
    return found


def _cannot_bind(host: str, port: int) -> str | None:
    """What is in the way; None: nothing. Blocks where the host is a name."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None
