"""Ports: which one `port: auto` gets, and who listens on one."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address

from vllmctl.core.spec import RUN_VARIABLE

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
    """Whether one of the processes holds a socket that listens on the port.

    True also where that cannot be seen (another user's process, no /proc/net).
    """
    try:
        wanted = {f"socket:[{inode}]" for number, inode in _listening() if number == port}
    except OSError:
        return True
    for pid in pids:
        try:
            if _holds_one(pid, wanted):
                return True
        except PermissionError:
            return True
        except OSError:
            continue  # gone
    return False


@dataclass(frozen=True, slots=True)
class Holder:
    """The program that listens on a port. What may not be seen is None."""

    pid: int | None
    name: str | None
    run: bool = False
    """It is a run of some vllmctl."""


class Listeners:
    """The ports that programs of this machine listen on, when it was first asked.

    Not before: the kernel's table of a busy server takes longer to read than models.yaml.
    """

    def __init__(self, own: Collection[int] = ()) -> None:
        """`own`: ports that are the asker's already, whoever has them."""
        self._own = own

    @cached_property
    def _inodes(self) -> dict[int, set[str]]:
        """Of the listening sockets, by port."""
        found: dict[int, set[str]] = {}
        with suppress(OSError):  # no /proc/net: nothing is known
            for port, inode in _listening():
                found.setdefault(port, set()).add(inode)
        return found

    def holder(self, host: str, port: int) -> Holder | None:
        """Who is in the way of listening there; None: nobody, or it cannot be told."""
        if port in self._own or port not in self._inodes or not _is_taken(host, port):
            return None
        wanted = {f"socket:[{inode}]" for inode in self._inodes[port]}
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            with suppress(OSError):  # gone, or not ours to look at
                if _holds_one(pid, wanted):
                    with open(f"/proc/{pid}/comm") as comm, open(f"/proc/{pid}/environ", "rb") as e:
                        run = any(v.startswith(_RUN) for v in e.read().split(b"\0"))
                        return Holder(pid, comm.read().strip(), run)
        return Holder(None, None)


_RUN = f"{RUN_VARIABLE}=".encode()


def _is_taken(host: str, port: int) -> bool:
    """By the kernel's word. False for a host that only a name server knows: it may take long."""
    host = {"localhost": "127.0.0.1", "": "0.0.0.0"}.get(host, host)
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    except ValueError:
        return False
    return False


def _holds_one(pid: int, sockets: Set[str]) -> bool:
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):  # closed meanwhile
            if os.readlink(f"/proc/{pid}/fd/{fd}") in sockets:
                return True
    return False


def _listening() -> Iterator[tuple[int, str]]:
    """(port, inode) of every listening socket; proc_net_tcp(5). Raises OSError."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as file:
                rows = [line.split() for line in file.readlines()[1:]]
        except FileNotFoundError:
            continue  # no IPv6 here
        for row in rows:
            if row[3] == TCP_LISTEN:
                yield int(row[1].rpartition(":")[2], 16), row[9]


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
