"""Asking a server how it is: one question at a time, never on anybody else's time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp


@dataclass(frozen=True, slots=True)
class Answer:
    """`message` is a sentence about the failure, or empty."""

    ok: bool
    message: str = ""


def base_url(host: str, port: int) -> str:
    """Where a server that listens on `host` is reached from this machine."""
    if host in ("0.0.0.0", ""):
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Prober:
    """Asks servers over HTTP. One for all of them; no proxy from the environment is used."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True), trust_env=False
        )

    async def close(self) -> None:
        await self._session.close()

    async def health(self, url: str, path: str, timeout: float) -> Answer:
        """Whether `path` answers 2xx within `timeout` seconds."""
        status, _, problem = await self._get(url + path, timeout, {})
        if problem:
            return Answer(False, f"{path} {problem}")
        if not 200 <= status < 300:
            return Answer(False, f"{path} answered {status}")
        return Answer(True)

    async def lists_model(self, url: str, served: str, timeout: float, key: str | None) -> Answer:
        """Whether `/v1/models` lists the model under the name `served`."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        status, body, problem = await self._get(f"{url}/v1/models", timeout, headers)
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

    async def _get(
        self, url: str, timeout: float, headers: Mapping[str, str]
    ) -> tuple[int, object, str]:
        """(status, JSON body or None, what went wrong or an empty string)."""
        limit = aiohttp.ClientTimeout(total=timeout)
        try:
            async with self._session.get(url, headers=headers, timeout=limit) as response:
                body: object = None
                if response.content_type == "application/json":
                    body = await response.json()
                return response.status, body, ""
        except TimeoutError:
            return 0, None, f"did not answer within {timeout:g} s"
        except aiohttp.ClientConnectorError as error:
            return 0, None, f"refused the connection ({error.os_error.strerror})"
        except (aiohttp.ClientError, ValueError) as error:
            return 0, None, f"did not answer properly ({error or type(error).__name__})"


def _model_names(body: object) -> list[str]:
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        return []
    return [str(entry.get("id")) for entry in body["data"] if isinstance(entry, dict)]
