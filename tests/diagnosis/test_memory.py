"""Whose memory it is, from PyTorch's own words."""

from __future__ import annotations

import pytest
from diagnosis.logs import of_text

HEAD = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate "
MESSAGES = {
    "alone": (
        "2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.20 GiB is free. Including "
        "non-PyTorch memory, this process has 77.89 GiB memory in use. Of the allocated memory "
        "76.00 GiB is allocated by PyTorch",
        "cuda_oom",
    ),
    "beside another": (
        "896.00 MiB. GPU 0 has a total capacity of 44.53 GiB of which 241.94 MiB is free. Process "
        "234500 has 40.41 GiB memory in use. Including non-PyTorch memory, this process has 3.87 "
        "GiB memory in use. Of the allocated memory 3.50 GiB is allocated by PyTorch",
        "gpu_memory_busy",
    ),
    "beside a small one": (
        "2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 0.20 GiB is free. Process 77 "
        "has 504.00 MiB memory in use. Including non-PyTorch memory, this process has 77.89 GiB "
        "memory in use.",
        "cuda_oom",
    ),
    "in a container": (
        "9.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.20 GiB is free. Process "
        "311712 has 77.89 GiB memory in use. Of the allocated memory 76.00 GiB is allocated by "
        "PyTorch, and 9.97 MiB is reserved",
        "cuda_oom",
    ),
    "in a container beside another": (
        "9.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.20 GiB is free. Process 311 "
        "has 37.00 GiB memory in use. Process 312 has 40.00 GiB memory in use. Of the allocated "
        "memory 36.00 GiB is allocated by PyTorch",
        "gpu_memory_busy",
    ),
    "before 2.1": (
        "20.00 MiB (GPU 0; 23.69 GiB total capacity; 22.70 GiB already allocated; 4.06 MiB free)",
        "cuda_oom",
    ),
    "cut": ("2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which", "cuda_oom"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_memory_that_another_process_holds_is_a_busy_gpu(name: str) -> None:
    message, expected = MESSAGES[name]
    diagnosis = of_text(f"{HEAD}{message}\n")
    assert (diagnosis.name, diagnosis.retry) == (expected, True)
