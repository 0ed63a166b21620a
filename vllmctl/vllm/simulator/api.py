"""The endpoints: what vLLM's API server answers, in vLLM's shapes (vLLM 0.32.0)."""

from __future__ import annotations

import json
import os
import queue
import struct
import time
from binascii import b2a_base64, crc32, hexlify
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vllmctl.vllm.simulator.client import ERROR, EngineClient, Token
from vllmctl.vllm.simulator.failures import ENGINE_DEAD
from vllmctl.vllm.simulator.http import Connection, Gone, Request
from vllmctl.vllm.simulator.loading import VERSION
from vllmctl.vllm.simulator.options import Options

DEFAULT_TOKENS = 16
_LOOK = 0.25
"""Seconds between two looks at whether a client still waits."""
_WORDS = """
    the model says that a small server can stand in for a large one while nobody looks and every
    word of it was chosen by arithmetic from your own prompt so ask again and read the same
""".split()  # noqa: SIM905 - forty quoted words are no list that anyone reads


class ApiError(Exception):
    """An answer that is not 200, in vLLM's shape."""

    def __init__(self, status: int, message: str, kind: str, param: str | None = None) -> None:
        self.status = status
        self.body = {
            "error": {"message": message, "type": kind, "param": param, "code": status},
        }


class _Asked(NamedTuple):
    """A completion, as it was asked for."""

    chat: bool
    model: str
    prompts: tuple[int, ...]
    """The length of each prompt, in tokens."""
    seeds: tuple[int, ...]
    max_tokens: int
    finish: str
    stream: bool
    stream_usage: bool


class Api:
    """Answers one request at a time for each connection, in that connection's thread."""

    def __init__(self, options: Options, engine: EngineClient) -> None:
        self._options = options
        self._engine = engine
        self._ready_at = time.monotonic()
        self._created = int(time.time())
        self.load = 0
        self.dead = False
        self._routes: dict[str, tuple[str, Callable[[Request, Connection], int]]] = {
            "/health": ("GET", self._health),
            "/ping": ("GET", self._health),
            "/load": ("GET", self._load),
            "/version": ("GET", self._version),
            "/metrics": ("GET", self._metrics),
            "/v1/models": ("GET", self._models),
            "/v1/completions": ("POST", self._completions),
            "/v1/chat/completions": ("POST", self._chat),
            "/v1/embeddings": ("POST", self._embeddings),
        }
        if options.runner == "pooling" or options.transcription:
            del self._routes["/v1/completions"], self._routes["/v1/chat/completions"]
        if options.transcription:
            del self._routes["/v1/embeddings"]
        if options.sleep_mode and options.developer:
            self._routes |= {
                "/sleep": ("POST", self._sleep),
                "/wake_up": ("POST", self._wake_up),
                "/is_sleeping": ("GET", self._is_sleeping),
            }

    def answer(self, request: Request, connection: Connection) -> int:
        """Answers; the status, for the access log."""
        if request.path.startswith("/v1") and not self._may(request):
            connection.respond(401, {"error": "Unauthorized"})
            return 401
        route = self._routes.get(request.path)
        if route is None:
            connection.respond(404, {"detail": "Not Found"})
            return 404
        method, handle = route
        if request.method != method:
            connection.respond(405, {"detail": "Method Not Allowed"})
            return 405
        try:
            return handle(request, connection)
        except ApiError as error:
            connection.respond(error.status, error.body)
            return error.status

    def _may(self, request: Request) -> bool:
        keys = self._options.api_key
        if not keys or request.method == "OPTIONS":
            return True
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and key in keys

    def _health(self, request: Request, connection: Connection) -> int:
        time.sleep(self._options.slow_health)
        after = self._options.unhealthy_after
        unhealthy = after is not None and time.monotonic() - self._ready_at >= after
        status = 503 if unhealthy or self.dead else 200
        connection.respond(status, "", "text/plain; charset=utf-8")
        return status

    def _load(self, request: Request, connection: Connection) -> int:
        connection.respond(200, {"server_load": self.load})
        return 200

    def _version(self, request: Request, connection: Connection) -> int:
        connection.respond(200, {"version": VERSION})
        return 200

    def _metrics(self, request: Request, connection: Connection) -> int:
        text = self._engine.metrics.text(self._options.names[0])
        connection.respond(200, text, "text/plain; version=1.0.0; charset=utf-8")
        return 200

    def _sleep(self, request: Request, connection: Connection) -> int:
        self._engine.metrics.awake = False
        connection.respond(200, {"status": "sleeping", "level": 1})
        return 200

    def _wake_up(self, request: Request, connection: Connection) -> int:
        self._engine.metrics.awake = True
        connection.respond(200, {"status": "awake", "tags": None})
        return 200

    def _is_sleeping(self, request: Request, connection: Connection) -> int:
        connection.respond(200, {"is_sleeping": not self._engine.metrics.awake})
        return 200

    def _wait_until_awake(self, connection: Connection) -> None:
        """What is asked of a sleeping engine waits until somebody wakes it."""
        while not self._engine.metrics.awake:
            if connection.gone():
                raise Gone
            time.sleep(_LOOK)

    def _models(self, request: Request, connection: Connection) -> int:
        models = [
            {
                "id": name,
                "object": "model",
                "created": self._created,
                "owned_by": "vllm",
                "root": self._options.model,
                "parent": None,
                "max_model_len": self._options.max_model_len,
                "permission": [
                    {
                        "id": f"modelperm-{crc32(name.encode()):08x}",
                        "object": "model_permission",
                        "created": self._created,
                        "allow_create_engine": False,
                        "allow_sampling": True,
                        "allow_logprobs": True,
                        "allow_search_indices": False,
                        "allow_view": True,
                        "allow_fine_tuning": False,
                        "organization": "*",
                        "group": None,
                        "is_blocking": False,
                    }
                ],
            }
            for name in self._options.names
        ]
        connection.respond(200, {"object": "list", "data": models})
        return 200

    def _embeddings(self, request: Request, connection: Connection) -> int:
        body = _object(request.body)
        model = self._model(body)
        encode = _encoding(body.get("encoding_format"))
        prompts = _prompts(body, "input")
        self._wait_until_awake(connection)
        numbers, tokens = self._engine.submit([length for length, _ in prompts], 1, "stop")
        self._collect(numbers, tokens, len(prompts), connection)
        data = [
            {
                "index": index,
                "object": "embedding",
                "embedding": encode([((seed >> 4 * i) % 16 - 8) / 8 for i in range(8)]),
            }
            for index, (_, seed) in enumerate(prompts)
        ]
        total = sum(length for length, _ in prompts)
        connection.respond(
            200,
            {
                "id": _id("embd"),
                "object": "list",
                "created": int(time.time()),
                "model": model,
                "data": data,
                "usage": _usage(total, 0),
            },
        )
        return 200

    def _completions(self, request: Request, connection: Connection) -> int:
        body = _object(request.body)
        return self._complete(self._asked(body, _prompts(body, "prompt"), chat=False), connection)

    def _chat(self, request: Request, connection: Connection) -> int:
        body = _object(request.body)
        messages = body.get("messages")
        if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
            raise _bad("'messages' must be a list of objects", "messages")
        if not messages:
            raise _bad("'messages' must not be empty", "messages")
        text = json.dumps(messages, sort_keys=True)
        length = sum(3 + len(str(one.get("content") or "").split()) for one in messages)
        return self._complete(
            self._asked(body, [(length, crc32(text.encode()))], chat=True), connection
        )

    def _asked(self, body: dict[str, Any], prompts: list[tuple[int, int]], chat: bool) -> _Asked:
        model = self._model(body)
        limit = body.get("max_completion_tokens") if chat else None
        limit = body.get("max_tokens") if limit is None else limit
        max_tokens = _integer(limit, "max_tokens", DEFAULT_TOKENS)
        choices = _integer(body.get("n"), "n", 1)
        longest = max(length for length, _ in prompts)
        if longest + max_tokens > self._options.max_model_len:
            raise _bad(
                f"This model's maximum context length is {self._options.max_model_len} tokens. "
                f"However, you requested {max_tokens} output tokens and your prompt contains "
                f"{longest} input tokens, for a total of {longest + max_tokens} tokens. Please "
                "reduce the length of the input prompt or the number of requested output tokens.",
                "max_tokens" if longest < self._options.max_model_len else "input_tokens",
            )
        stream_options = body.get("stream_options")
        return _Asked(
            chat=chat,
            model=model,
            prompts=tuple(length for length, _ in prompts for _ in range(choices)),
            seeds=tuple(seed + i for _, seed in prompts for i in range(choices)),
            max_tokens=max_tokens,
            # A chat without a limit ends by itself, as a real one does.
            finish="stop" if chat and limit is None else "length",
            stream=bool(body.get("stream")),
            stream_usage=isinstance(stream_options, dict)
            and bool(stream_options.get("include_usage")),
        )

    def _model(self, body: dict[str, Any]) -> str:
        name = body.get("model") or self._options.names[0]
        if name not in self._options.names:
            raise ApiError(404, f"The model `{name}` does not exist.", "NotFoundError", "model")
        return str(name)

    def _complete(self, asked: _Asked, connection: Connection) -> int:
        self._wait_until_awake(connection)
        numbers, tokens = self._engine.submit(asked.prompts, asked.max_tokens, asked.finish)
        identity = _id("chatcmpl" if asked.chat else "cmpl")
        if asked.stream:
            self._stream(asked, identity, numbers, tokens, connection)
            return 200
        counts, finishes = self._collect(numbers, tokens, len(asked.prompts), connection)
        choices = [
            _choice(asked, index, _text(seed, 0, counts[index]), finishes[index])
            for index, seed in enumerate(asked.seeds)
        ]
        connection.respond(
            200,
            {
                **_head(asked, identity, "chat.completion"),
                "choices": choices,
                "usage": _usage(sum(asked.prompts), sum(counts)),
            },
        )
        return 200

    def _collect(
        self,
        numbers: Sequence[int],
        tokens: queue.SimpleQueue[Token],
        prompts: int,
        connection: Connection,
    ) -> tuple[list[int], list[str]]:
        """Waits for the end of all prompts: how many tokens each got, and how it ended."""
        counts, finishes = [0] * prompts, [""] * prompts
        while not all(finishes):
            token = self._next(numbers, tokens, connection)
            counts[token.choice] += token.is_token
            finishes[token.choice] = token.finish or ""
        if ERROR in finishes:
            raise ApiError(500, ENGINE_DEAD.partition(": ")[2], "InternalServerError")
        return counts, finishes

    def _stream(
        self,
        asked: _Asked,
        identity: str,
        numbers: Sequence[int],
        tokens: queue.SimpleQueue[Token],
        connection: Connection,
    ) -> None:
        connection.begin("text/event-stream; charset=utf-8")
        head = _head(asked, identity, "chat.completion.chunk")

        def event(choices: list[dict[str, Any]], **more: object) -> None:
            data = json.dumps({**head, "choices": choices, **more}, separators=(",", ":"))
            connection.piece(f"data: {data}\n\n")

        counts = [0] * len(asked.prompts)
        open_choices = len(counts)
        try:
            if asked.chat:
                event([_delta(index, {"role": "assistant", "content": ""}) for index in counts])
            while open_choices:
                token = self._next(numbers, tokens, connection)
                if token.finish == ERROR:
                    error = ApiError(500, ENGINE_DEAD.partition(": ")[2], "InternalServerError")
                    connection.piece(f"data: {json.dumps(error.body)}\n\n")
                    break
                seed, count = asked.seeds[token.choice], counts[token.choice]
                text = _text(seed, count, count + 1) if token.is_token else ""
                counts[token.choice] += token.is_token
                open_choices -= token.finish is not None
                if asked.chat:
                    event([_delta(token.choice, {"content": text}, token.finish)])
                else:
                    event([_choice(asked, token.choice, text, token.finish)])
            if asked.stream_usage:
                event([], usage=_usage(sum(asked.prompts), sum(counts)))
            connection.piece("data: [DONE]\n\n")
            connection.end()
        except Gone:
            self._engine.abort(numbers)
            raise

    def _next(
        self, numbers: Sequence[int], tokens: queue.SimpleQueue[Token], connection: Connection
    ) -> Token:
        while True:
            if connection.gone():
                self._engine.abort(numbers)
                raise Gone
            try:
                return tokens.get(timeout=_LOOK)
            except queue.Empty:
                pass  # the engine may be slow, or hung; look again whether the client still waits


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise _bad(f"[{{'type': 'json_invalid', 'msg': 'JSON decode error: {error}'}}]") from None
    if not isinstance(value, dict):
        raise _bad("the body must be an object")
    return value


def _prompts(body: dict[str, Any], field: str) -> list[tuple[int, int]]:
    """Length and seed of each prompt: a string, token ids, or a list of either."""
    value = body.get(field)
    if isinstance(value, str):
        return [_measured(value)]
    if isinstance(value, list) and value:
        if all(isinstance(one, int) for one in value):
            return [_measured(value)]
        if all(isinstance(one, str | list) for one in value):
            return [_measured(one) for one in value]
    raise _bad(f"'{field}' must be a string, a list of token ids, or a list of these", field)


def _measured(prompt: str | list[Any]) -> tuple[int, int]:
    words = prompt.split() if isinstance(prompt, str) else prompt
    return max(1, len(words)), crc32(json.dumps(prompt).encode())


def _encoding(name: object) -> Callable[[list[float]], list[float] | str]:
    """How an embedding is sent: numbers, or their float32 in base64, as openai's client asks."""
    if name in (None, "float"):
        return lambda numbers: numbers
    if name == "base64":
        return lambda numbers: b2a_base64(
            struct.pack(f"<{len(numbers)}f", *numbers), newline=False
        ).decode()
    raise _bad("encoding_format must be 'float' or 'base64'", "encoding_format")


def _integer(value: object, field: str, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _bad(f"{field} must be at least 1, got {value}.", field)
    return value


def _bad(message: str, param: str | None = None) -> ApiError:
    return ApiError(400, message, "BadRequestError", param)


def _id(kind: str) -> str:
    return f"{kind}-{hexlify(os.urandom(16)).decode()}"


def _text(seed: int, start: int, end: int) -> str:
    """Tokens number start to end of the answer to a prompt: always the same ones."""
    return "".join(f" {_WORDS[(seed + 7 * i + i * i) % len(_WORDS)]}" for i in range(start, end))


def _usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
        "prompt_tokens_details": None,
    }


def _head(asked: _Asked, identity: str, chat_object: str) -> dict[str, Any]:
    return {
        "id": identity,
        "object": chat_object if asked.chat else "text_completion",
        "created": int(time.time()),
        "model": asked.model,
    }


def _choice(asked: _Asked, index: int, text: str, finish: str | None) -> dict[str, Any]:
    end = {"logprobs": None, "finish_reason": finish, "stop_reason": None}
    if asked.chat:
        message = {"role": "assistant", "content": text.lstrip(), "tool_calls": []}
        return {"index": index, "message": message, **end}
    return {"index": index, "text": text, **end}


def _delta(index: int, delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
