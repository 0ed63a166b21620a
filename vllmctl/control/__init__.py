"""The control channel: HTTP over a Unix socket, its server and its client."""

API = "1"
"""The version of what is said over the socket; a client and a daemon that differ do not talk."""
API_HEADER = "Vllmctl-Api"
VERSION_HEADER = "Vllmctl-Version"
