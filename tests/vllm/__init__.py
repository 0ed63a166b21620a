"""Tests against real vLLM, and logs of vLLM: recorded and written ones."""
