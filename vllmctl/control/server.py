"""The daemon's end of the control channel.

It checks who is asking, turns words into calls of a `Service`, and its answers into JSON. It
decides nothing and changes nothing by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from aiohttp import web

from vllmctl import __version__
from vllmctl.control import API, API_HEADER, VERSION_HEADER
from vllmctl.core.select import UnknownName

MODEL_VERBS = ("start", "stop", "restart")
HEALTH_CHECK = "health-check"
"""A verb that commands nothing, so it is not among the others."""
JSON_TYPE = "application/json; charset=utf-8"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format."""
LOOK_AT_READER = 1.0
"""Seconds between two looks whether the reader of a quiet stream is still there."""
LOOK_AT_SOCKET = 2.0
"""Seconds between two looks whether the socket is still at its path."""
LONGEST_NUMBER = 18
"""Digits of a number in a query; the id of an event has 13."""


class Refused(Exception):
    """The request cannot be carried out; `status` is the HTTP status, `body` says why."""

    def __init__(self, status: int, error: str, **body: Any) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, **body}


class Service(Protocol):
    """What the daemon offers over the socket. Every answer is a JSON document; `status`, which many
    may ask for all the time, gives it encoded."""

    @property
    def ending(self) -> bool:
        """Whether the daemon is on its way out."""
        ...

    async def status(self, with_pids: bool) -> bytes: ...

    async def model(self, word: str) -> dict[str, Any]: ...

    async def health_check(self, word: str) -> dict[str, Any]: ...

    def metrics(self) -> str: ...

    async def command(self, verb: str, words: list[str]) -> dict[str, Any]: ...

    async def reload(self) -> dict[str, Any]: ...

    async def diff(self, file: str | None) -> dict[str, Any]: ...

    def definition(self, word: str) -> dict[str, Any]: ...

    async def shutdown(self, keep_models: bool) -> dict[str, Any]: ...

    def plan(self) -> dict[str, Any]: ...

    def log(self, word: str, lines: int, follow: bool) -> AsyncIterator[bytes]: ...

    def events(self, lines: int, after: int | None, follow: bool) -> AsyncIterator[bytes]: ...


class ControlServer:
    """Serves a `Service` on a Unix socket that only its owner may open."""

    def __init__(self, path: str, service: Service, report: Callable[[str], None]) -> None:
        """`report(sentence)` tells of trouble."""
        self._path = path
        self._service = service
        self._report = report
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/v1/status", self._status),
                web.get("/v1/models/{name}", self._model),
                web.get("/metrics", self._metrics),
                web.post(f"/v1/models/{{name}}/{HEALTH_CHECK}", self._health_check),
                web.post("/v1/models/{name}/{verb}", self._command),
                web.post(f"/v1/{{verb:{'|'.join(MODEL_VERBS)}}}", self._commands),
                web.get("/v1/models/{name}/log", self._log),
                web.get("/v1/models/{name}/definition", self._definition),
                web.get("/v1/events", self._events),
                web.get("/v1/plan", self._plan),
                web.get("/v1/diff", self._diff),
                web.post("/v1/reload", self._reload),
                web.post("/v1/shutdown", self._shutdown),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        self._site: web.SockSite | None = None
        self._inode = 0
        """Of the socket, as it was made."""
        self._staying: asyncio.Task[None] | None = None
        # Bytes that are no HTTP are the sender's trouble: no traceback of them in our log.
        logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)

    async def open(self) -> None:
        """Bind and listen. The caller holds the state directory's lock: a socket there is stale.

        Raises OSError if something is there that cannot be taken away.
        """
        await self._runner.setup()
        await self._listen()
        self._staying = asyncio.create_task(self._stay_reachable())

    async def close(self) -> None:
        if self._staying is not None:
            self._staying.cancel()
        await self._runner.cleanup()
        with suppress(OSError):  # the server's clean-up has done it; or it never was ours
            os.unlink(self._path)

    async def _stay_reachable(self) -> None:
        """Make the socket again whenever a cleaner of old files, say, has removed it.

        Until the daemon ends: who begins another then need not be told that this one goes.
        """
        told = ""
        while True:
            await asyncio.sleep(LOOK_AT_SOCKET)
            if self._service.ending:
                return
            if self._is_there():
                told = ""
                continue
            sentence = f"the control socket {self._path} was removed"
            try:
                await self._listen()
                sentence += ", and is there again"
            except OSError as error:
                sentence += f", and cannot be made again: {error.strerror}"
            if sentence != told:
                self._report(sentence)
            told = sentence

    async def _listen(self) -> None:
        if self._site is not None:
            await self._site.stop()  # nobody can reach it; who is connected stays so
            self._site = None
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass  # no earlier daemon, or it left tidily
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # closed to others from the first moment on
        try:
            listener.bind(self._path)
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(before)
        self._inode = os.lstat(self._path).st_ino
        self._site = web.SockSite(self._runner, listener, shutdown_timeout=1.0)
        await self._site.start()

    def _is_there(self) -> bool:
        try:
            return os.lstat(self._path).st_ino == self._inode
        except OSError:
            return False

    @web.middleware
    async def _guard(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        headers = {API_HEADER: API, VERSION_HEADER: __version__}
        uid = _peer_uid(request)
        if uid not in (0, os.geteuid()):
            error = f"user {uid} may not control this daemon; its owner and root may"
            return web.json_response({"error": error}, status=403, headers=headers)
        try:
            response = await handler(request)
        except Refused as refusal:
            return web.json_response(refusal.body, status=refusal.status, headers=headers)
        except UnknownName as error:
            return web.json_response({"error": str(error)}, status=404, headers=headers)
        except web.HTTPException as error:
            return web.json_response({"error": error.reason}, status=error.status, headers=headers)
        except Exception as error:  # the last resort of a request: loud here, a sentence there
            traceback.print_exc()
            body = {"error": f"internal error: {error!r}; the daemon's log has more"}
            return web.json_response(body, status=500, headers=headers)
        if not response.prepared:
            response.headers.update(headers)
        return response

    async def _status(self, request: web.Request) -> web.Response:
        with_pids = request.query.get("pids", "true") != "false"
        body = await self._service.status(with_pids)
        return web.Response(body=body, headers={"Content-Type": JSON_TYPE})

    async def _model(self, request: web.Request) -> web.Response:
        return web.json_response(await self._service.model(request.match_info["name"]))

    async def _health_check(self, request: web.Request) -> web.Response:
        return web.json_response(await self._service.health_check(request.match_info["name"]))

    async def _metrics(self, _: web.Request) -> web.Response:
        body = self._service.metrics().encode()
        return web.Response(body=body, headers={"Content-Type": METRICS_TYPE})

    async def _command(self, request: web.Request) -> web.Response:
        verb = request.match_info["verb"]
        if verb not in MODEL_VERBS:
            known = ", ".join([*MODEL_VERBS, HEALTH_CHECK])
            raise Refused(404, f"unknown verb {verb!r}; there are: {known}")
        return web.json_response(await self._service.command(verb, [request.match_info["name"]]))

    async def _commands(self, request: web.Request) -> web.Response:
        """The same of several models at once; the body says which."""
        try:
            words = (await request.json())["names"]
        except (ValueError, LookupError, TypeError, RecursionError, web.RequestPayloadError):
            words = None  # no such JSON, or a charset or an encoding that nobody knows
        if not words or not isinstance(words, list) or {type(word) for word in words} != {str}:
            raise Refused(400, 'the body must be {"names": ["NAME", …]}')
        return web.json_response(await self._service.command(request.match_info["verb"], words))

    async def _plan(self, _: web.Request) -> web.Response:
        return web.json_response(self._service.plan())

    async def _diff(self, request: web.Request) -> web.Response:
        file = request.query.get("file")
        if file is not None and not file.startswith("/"):
            raise Refused(400, f"file must be an absolute path (got {file!r})")
        return web.json_response(await self._service.diff(file))

    async def _definition(self, request: web.Request) -> web.Response:
        return web.json_response(self._service.definition(request.match_info["name"]))

    async def _reload(self, _: web.Request) -> web.Response:
        return web.json_response(await self._service.reload())

    async def _shutdown(self, request: web.Request) -> web.Response:
        keep = request.query.get("keep_models", "false") == "true"
        return web.json_response(await self._service.shutdown(keep))

    async def _log(self, request: web.Request) -> web.StreamResponse:
        chunks = self._service.log(
            request.match_info["name"], _number(request, "lines", 100), _flag(request, "follow")
        )
        return await self._stream(request, "text/plain", chunks)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        after = _number(request, "after", 0) if "after" in request.query else None
        lines = self._service.events(
            _number(request, "lines", 100), after, _flag(request, "follow")
        )
        return await self._stream(request, "application/x-ndjson", lines)

    async def _stream(
        self, request: web.Request, kind: str, chunks: AsyncIterator[bytes]
    ) -> web.StreamResponse:
        """Send chunks until they end or the reader leaves. A slow reader waits for itself only."""
        response = web.StreamResponse(headers={API_HEADER: API, VERSION_HEADER: __version__})
        response.content_type = kind
        first = await anext(chunks, b"")  # an unknown name is refused before anything is sent
        await response.prepare(request)
        pump = asyncio.ensure_future(_pump(response, first, chunks))
        try:
            # A quiet stream never writes, so it would never find out that its reader has left.
            while not await _done_within(pump, LOOK_AT_READER) and request.transport is not None:
                pass
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
        return response


async def _pump(response: web.StreamResponse, first: bytes, chunks: AsyncIterator[bytes]) -> None:
    try:
        await response.write(first)
        async for chunk in chunks:
            await response.write(chunk)
    except ConnectionError:
        pass  # the reader left


async def _done_within(future: asyncio.Future[None], seconds: float) -> bool:
    done, _ = await asyncio.wait((future,), timeout=seconds)
    return bool(done)


def _peer_uid(request: web.Request) -> int:
    """Who is at the other end, by the kernel's word (SO_PEERCRED, unix(7))."""
    assert request.transport is not None
    peer = request.transport.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
        raise Refused(400, f"{name} must be a whole number (got {text!r})")
    return int(text)


def _flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "") in ("1", "true", "yes")
