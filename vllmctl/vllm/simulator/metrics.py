"""`/metrics`, in Prometheus's text format, under vLLM's names (vLLM 0.32.0)."""

from __future__ import annotations

FINISH_REASONS = ("stop", "length", "abort", "error")


class Metrics:
    """The numbers. Gauges hold what the engine last said: a hung engine says nothing."""

    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self.cache = 0.0
        self.awake = True
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.success = dict.fromkeys(FINISH_REASONS, 0)

    def text(self, model_name: str) -> str:
        name = model_name.replace("\\", "\\\\").replace('"', '\\"')
        labels = f'engine="0",model_name="{name}"'
        lines: list[str] = []

        def family(metric: str, kind: str, doc: str, *samples: tuple[str, str, float]) -> None:
            lines.append(f"# HELP vllm:{metric} {doc}")
            lines.append(f"# TYPE vllm:{metric} {kind}")
            for suffix, more, value in samples:
                lines.append(f"vllm:{metric}{suffix}{{{labels}{more}}} {float(value)}")

        family(
            "num_requests_running",
            "gauge",
            "Number of requests in model execution batches.",
            ("", "", self.running),
        )
        family(
            "num_requests_waiting",
            "gauge",
            "Number of requests waiting to be processed.",
            ("", "", self.waiting),
        )
        family(
            "engine_sleep_state",
            "gauge",
            "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is "
            "awake.",
            ("", ',sleep_state="awake"', self.awake),
            ("", ',sleep_state="weights_offloaded"', not self.awake),
            ("", ',sleep_state="discard_all"', 0),
        )
        family(
            "kv_cache_usage_perc",
            "gauge",
            "KV-cache usage. 1 means 100 percent usage.",
            ("", "", self.cache),
        )
        family(
            "prompt_tokens",
            "counter",
            "Number of prefill tokens processed.",
            ("_total", "", self.prompt_tokens),
        )
        family(
            "generation_tokens",
            "counter",
            "Number of generation tokens processed.",
            ("_total", "", self.generation_tokens),
        )
        family(
            "request_success",
            "counter",
            "Count of successfully processed requests.",
            *(
                ("_total", f',finished_reason="{reason}"', count)
                for reason, count in self.success.items()
            ),
        )
        return "\n".join(lines) + "\n"
