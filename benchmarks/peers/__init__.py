"""The supervisors that are measured side by side."""

from __future__ import annotations

from peers.base import Peer, Rotation
from peers.circus import Circus
from peers.pm2 import Pm2
from peers.runit import Runit
from peers.s6 import S6
from peers.supervisord import Supervisord
from peers.vllmctl import Vllmctl

PEERS: dict[str, type[Peer]] = {
    peer.name: peer for peer in (Vllmctl, Supervisord, Circus, Pm2, S6, Runit)
}

__all__ = ["PEERS", "Peer", "Rotation", "Vllmctl"]
