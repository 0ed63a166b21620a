"""Asking a server how it is: one question at a time, never on anybody else's time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from vllmctl.core.spec import Launch
from vllmctl.vllm.command import speaks_tls
from vllmctl.vllm.liveness import Answered, Broken, TimedOut
from vllmctl.vllm.metrics import LARGEST


@dataclass(frozen=True, slots=True)
class Answer:
    """`message` is a sentence about the failure, or empty."""

    ok: bool
    message: str = ""


def base_url(launch: Launch, port: int) -> str:
    """Where a server is reached from this machine."""
    scheme, host = "https" if speaks_tls(launch.argv) else "http", launch.host
    if host in ("0.0.0.0", ""):
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class _Connector(aiohttp.TCPConnector):
    """Connects by what the event loop has for it.

    aiohttp's own way makes a socket in Python and asks the loop to connect it, for which uvloop
    resolves the address, even `127.0.0.1`, in a thread of its own (uvloop 0.23, `sock_connect`):
    a third of what a probe costs, and four wake-ups.
    """

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: Any, timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        url = req.url
        if url.scheme != "http":
            return await super()._create_connection(req, traces, timeout)
        assert url.raw_host is not None
        assert url.port is not None
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await loop.create_connection(self._factory, url.raw_host, url.port)
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error
        return protocol


class Prober:
    """Asks servers over HTTP. One for all of them; no proxy from the environment is used.

    A certificate is not checked: it bears the name by which others know the server, and who
    listens on a port of this machine is known already.
    """

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=0, force_close=True, ssl=False), trust_env=False
        )

    async def close(self) -> None:
        await self._session.close()

    async def health(self, url: str, path: str, timeout: float) -> Answer:
        """Whether `path` answers 2xx within `timeout` seconds."""
        match await self.ask(url + path, timeout):
            case Answered(status) if 200 <= status < 300:
                return Answer(True)
            case Answered(status):
                return Answer(False, f"{path} answered {status}")
            case TimedOut(seconds):
                return Answer(False, f"{path} did not answer within {seconds:g} s")
            case Broken(problem):
                return Answer(False, f"{path} {problem}")

    async def lists_model(self, url: str, served: str, timeout: float, key: str | None) -> Answer:
        """Whether `/v1/models` lists the model under the name `served`."""
        status, body, problem = await self._get(f"{url}/v1/models", timeout, _bearer(key))
        if problem:
            return Answer(False, f"/v1/models {problem}")
        if status in (401, 403):
            return Answer(False, f"/v1/models answered {status}: set VLLM_API_KEY in its `env:`")
        if status != 200:
            return Answer(False, f"/v1/models answered {status}")
        names = _model_names(body)
        if served not in names:
            listed = ", ".join(names) or "nothing"
            return Answer(False, f"/v1/models lists {listed}, not {served}")
        return Answer(True)

    async def ask(self, url: str, timeout: float) -> Answered | TimedOut | Broken:
        """What a GET of `url` comes to within `timeout` seconds. Its body is not looked at."""
        return await self._exchange("GET", url, timeout)

    async def page(self, url: str, timeout: float) -> str | None:
        """The text at `url`, up to LARGEST bytes; None: none came within `timeout` seconds."""
        pieces: list[bytes] = []

        async def read(response: aiohttp.ClientResponse) -> None:
            size = 0
            async for piece in response.content.iter_any():
                pieces.append(piece)
                size += len(piece)
                if size >= LARGEST:
                    return

        reply = await self._exchange("GET", url, timeout, read=read)
        return b"".join(pieces).decode(errors="replace") if reply == Answered(200) else None

    async def compute(
        self, url: str, body: Mapping[str, object], timeout: float, key: str | None
    ) -> Answered | TimedOut | Broken:
        """What a request to compute something comes to, once it is answered to the end."""

        async def read(response: aiohttp.ClientResponse) -> None:
            async for _ in response.content.iter_any():
                pass  # as soon as all is there, whatever it is

        return await self._exchange(
            "POST", url, timeout, read=read, json=body, headers=_bearer(key), allow_redirects=False
        )

    async def _get(
        self, url: str, timeout: float, headers: Mapping[str, str]
    ) -> tuple[int, object, str]:
        """(status, JSON body or None, what went wrong or an empty string)."""
        body: object = None

        async def read(response: aiohttp.ClientResponse) -> None:
            nonlocal body
            if response.content_type == "application/json":
                body = await response.json()

        match await self._exchange("GET", url, timeout, read=read, headers=headers):
            case Answered(status):
                return status, body, ""
            case TimedOut(seconds):
                return 0, None, f"did not answer within {seconds:g} s"
            case Broken(problem):
                return 0, None, problem

    async def _exchange(
        self,
        method: str,
        url: str,
        timeout: float,
        read: Callable[[aiohttp.ClientResponse], Awaitable[None]] | None = None,
        **request: Any,
    ) -> Answered | TimedOut | Broken:
        """Ask once; `read` takes from the answer what is wanted of it."""
        limit = aiohttp.ClientTimeout(total=timeout)
        try:
            async with self._session.request(method, url, timeout=limit, **request) as response:
                if read is not None:
                    await read(response)
                return Answered(response.status)
        except TimeoutError:
            return TimedOut(timeout)
        except aiohttp.ClientConnectorError as error:
            return Broken(f"refused the connection ({error.os_error.strerror or error.os_error})")
        except (aiohttp.ClientError, ValueError) as error:
            return Broken(f"did not answer properly ({error or type(error).__name__})")


def _bearer(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _model_names(body: object) -> list[str]:
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        return []
    return [str(entry.get("id")) for entry in body["data"] if isinstance(entry, dict)]
