"""Why a run ended, what to do about it, and whether another try can help.

vLLM's exit code says little (it is 0 when the engine died, vllm#48966), and so does the last line
of its log; the cause stands in the first traceback of the deepest process, often hundreds of lines
above the end. A log comes in as chunks of bytes and is read once:

    lines → undress → reading (by the rules) → verdict

A wrong "do not retry" is the worst mistake: it keeps a model down that could have come back. So a
class that rules out another try is believed only of a start that failed with an error's exit;
a server that was ready can be ready again.
"""

from vllmctl.vllm.diagnosis.ending import by_ending
from vllmctl.vllm.diagnosis.verdict import diagnose

__all__ = ["by_ending", "diagnose"]
