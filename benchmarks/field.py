"""The supervisors side by side, each with the same number of programs."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cache
from peers import PEERS, Peer
from programs import waiting


@dataclass(frozen=True, slots=True)
class Field:
    """All that are measured at one size."""

    size: int
    peers: Sequence[Peer]

    def shuffled(self) -> list[Peer]:
        """In another order every time, so that none always goes second."""
        return random.sample(self.peers, len(self.peers))


@contextmanager
def side_by_side(root: Path, size: int, names: Sequence[str]) -> Iterator[Field]:
    """All of them begun, and ended in any case."""
    with ExitStack() as stack:
        peers = []
        for name in names:
            peer = PEERS[name](root / f"{name}-{size}", waiting(size))
            peer.begin()
            stack.callback(peer.end)
            peers.append(peer)
        yield Field(size, peers)


def present(names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """(name to version of those that can be measured, name to reason of those that cannot)."""
    versions, missing = {}, {}
    for name in names:
        try:
            versions[name] = PEERS[name].version()
        except cache.Missing as reason:
            missing[name] = str(reason)
            print(f"{name} is not measured: {reason}", file=sys.stderr)
    return versions, missing


def time_process(command: list[str], environ: dict[str, str]) -> float:
    """Milliseconds from spawn to exit; RuntimeError if it did not end well."""
    silence = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    begin = time.perf_counter()
    pid = os.posix_spawn(command[0], command, environ, file_actions=silence)
    _, status = os.waitpid(pid, 0)
    end = time.perf_counter()
    if status:
        raise RuntimeError(f"{command} ended with status {status}")
    return (end - begin) * 1000
