"""Written logs of failing vLLM servers: what cannot be provoked without GPUs, as a table.

Each entry of `ALL` has its right answers; `build` makes the log. The texts and who prints them
are from `failure-messages.md` of the project and from logs in issues of vLLM; the surroundings
are those of the recordings beside this file.
"""

from __future__ import annotations

from vllm.dressing import STYLES, dressed, interleaved
from vllm.entry import Written, build, lines_of, root_lines
from vllm.written_ends import ENDS
from vllm.written_gpu import GPU
from vllm.written_host import HOST_SIDE

ALL: tuple[Written, ...] = (*GPU, *HOST_SIDE, *ENDS)

__all__ = [
    "ALL",
    "STYLES",
    "Written",
    "build",
    "dressed",
    "interleaved",
    "lines_of",
    "root_lines",
]
