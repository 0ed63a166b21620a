"""Steps from which a log is put together: `(up_to(P.LOADING), bare("…"), fails(P.LOADING, …))`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vllm import failing
from vllm.failing import LINKS, Cause
from vllm.surroundings import Frame, Log, Phase, frames, silence, start, traceback, uvicorn

Step = Callable[[Log], None]
Rows = tuple[tuple[str, str, str], ...]  # levels of a traceback: file, function, code


def up_to(phase: Phase) -> Step:
    return lambda log: start(log, phase)


def fails(
    phase: Phase,
    text: str,
    at: Rows = (),
    *,
    inner: str = "",
    link: str = "cause",
    ranks: Sequence[int] | None = None,
    place: str = "worker",
) -> Step:
    """The exception `text` in `phase`, with everything that follows from it."""
    cause = Cause(text, frames(*at), inner, link)
    return lambda log: failing.crash(log, phase, cause, ranks=ranks, place=place)


def raises(
    phase: Phase,
    text: str,
    at: Rows = (),
    *,
    inner: str = "",
    link: str = "cause",
    ranks: Sequence[int] | None = None,
    place: str = "worker",
) -> tuple[Step, ...]:
    """A start (or a server) up to `phase`, and its failure there."""
    return up_to(phase), fails(phase, text, at, inner=inner, link=link, ranks=ranks, place=place)


def refuses(
    text: str,
    at: Rows = (),
    *,
    phase: Phase = Phase.ARGUMENTS,
    inner: str = "",
    link: str = "cause",
) -> tuple[Step, ...]:
    """The API server fails before there is an engine."""
    return up_to(phase), fails(phase, text, at, inner=inner, link=link, place="api")


def bare(text: str) -> Step:
    """What stands there without a prefix: C++, a shell, a kernel."""
    return lambda log: log.raw(text)


def says(by: str, level: str, file: str, text: str) -> Step:
    """One record: `by` is "api", "engine", "worker", "worker 1" or "" for nobody's prefix."""

    def step(log: Log) -> None:
        log.line(speaker(log, by), level, f"{file}:{log.server.line_number(file, text[:12])}", text)

    return step


def prints(by: str, text: str) -> Step:
    """What that process prints without the logger."""
    return lambda log: log.raw(text, speaker(log, by))


def speaker(log: Log, by: str) -> str:
    kind, _, rank = by.partition(" ")
    server = log.server
    match kind:
        case "api":
            return server.api()
        case "engine":
            return server.engine()
        case "worker":
            return server.worker(int(rank or 0))
    return ""


def hears(text: str) -> Step:
    """What uvicorn says: `INFO:     …`."""
    return lambda log: uvicorn(log, text)


def each_worker(text: str) -> Step:
    """The same bare text of every rank, `{rank}` filled in."""

    def step(log: Log) -> None:
        for rank in range(log.server.tp):
            log.raw(text.format(rank=rank))

    return step


def usage(program: str, error: str) -> tuple[Step, ...]:
    """argparse refuses."""
    text = (
        (
            f"usage: {program} [model_tag] [options]\n"
            "\nStart a vLLM OpenAI Compatible API server\n\n"
            "Config Groups:\n"
            "  -h, --help            show this help message and exit\n"
            "  --headless            Run in headless mode. (default: False)\n"
        )
        if program == "vllm serve"
        else (
            f"usage: {program} [-h] [-v] {{chat,complete,serve,bench,collect-env,run-batch}} ...\n"
        )
    )
    return (bare(text + f"{program}: error: {error}"),)


def trace(by: str, head: str, at: Rows, text: str) -> Step:
    """A traceback that is only logged: `head` is the record's first line."""

    def step(log: Log) -> None:
        told = traceback(log.server, frames(*at), text)
        file = {"worker": "multiproc_executor.py", "engine": "core.py"}.get(
            by.split()[0], "serving.py"
        )
        log.error(speaker(log, by), file, f"{head}\n{told}")

    return step


def bare_trace(at: Rows, text: str, by: str = "", head: str = "", then: str = "") -> Step:
    """A traceback that Python prints itself."""

    def step(log: Log) -> None:
        told = traceback(log.server, frames(*at), text)
        log.raw("\n".join(part for part in (head, told, then) if part), speaker(log, by))

    return step


def passes(minutes: int, *said: str) -> Step:
    """Time without a word, but for what the engine repeats each minute."""
    return lambda log: silence(log, minutes, said)


def worker_gone(rank: int) -> Step:
    """A worker's process is gone, and the engine was still starting or serving."""

    def step(log: Log) -> None:
        log.wait(2)
        log.error(
            log.server.engine(),
            "multiproc_executor.py",
            f"Worker proc VllmWorker-{rank} died unexpectedly, shutting down executor.",
        )
        for other in range(log.server.tp):
            if other != rank:
                log.info(
                    log.server.worker(other),
                    "multiproc_executor.py",
                    "Parent process exited, terminating worker",
                )

    return step


def executor_failed(log: Log) -> None:
    """After a worker is gone: the engine and the API server."""
    told = traceback(
        log.server,
        (
            *failing.STEP,
            *frames(
                (failing.MULTI, "collective_rpc", 'raise RuntimeError("Executor failed.")'),
            ),
        ),
        "RuntimeError: Executor failed.",
    )
    failing.engine_fatal(log, told, log.server.engine())
    failing.engine_dead(log)


def start_failed(log: Log) -> None:
    """After a worker is gone during the start: the wrapper lines alone."""
    failing.crash(
        log,
        Phase.ENGINE,
        Cause(
            "RuntimeError: cancelled",
            frames(
                (failing.MULTI, "wait_for_response_handle_ready", "return self.get_response("),
                (
                    "vllm/distributed/device_communicators/shm_broadcast.py",
                    "acquire_read",
                    'raise RuntimeError("cancelled")',
                ),
            ),
        ),
        place="engine",
    )


def cores_failed(cores: str) -> Step:
    return lambda log: failing.core_failed(log, cores)


def engine_gone(log: Log) -> None:
    """The engine's process ends without a word in a server that was ready (≥0.10)."""
    log.wait(5)
    log.error(
        log.server.api(),
        "core_client.py",
        f"Engine core proc {log.server.core_name} died unexpectedly, shutting down client.",
    )
    failing.engine_dead(log)


def clean_stop(log: Log) -> None:
    failing.asked_to_stop(log)


def http_down(log: Log) -> None:
    failing.http_down(log)


def dead_requests(log: Log) -> None:
    failing.engine_dead(log)


def output_handler_failed(log: Log) -> None:
    failing.output_handler_failed(log)


def background_loop(log: Log) -> None:
    failing.background_loop(log)


def v0_engine_gone(log: Log) -> None:
    failing.v0_api_hears(log)


def chained(first: str, second: str, link: str = "cause") -> str:
    return f"{first}\n\n{LINKS[link]}\n\n{second}"


__all__ = ["Frame", "Phase", "Step"]
