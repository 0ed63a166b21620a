"""vllmctl: a supervisor for vLLM servers, driven by one declarative file."""

__version__ = "0.1.0"
