"""Facts → findings. Pure: nothing here looks at the machine, the file or the clock."""

from __future__ import annotations

from vllmctl.doctor.checks.gpus import check_gpu, check_gpu_memory, check_gpus
from vllmctl.doctor.checks.host import (
    check_clock,
    check_disk,
    check_memory,
    check_open_files,
    check_shm,
)
from vllmctl.doctor.checks.models import (
    check_executable,
    check_model,
    check_ports,
    check_token,
)
from vllmctl.doctor.checks.setup import (
    check_config,
    check_daemon,
    check_permissions,
    check_systemd,
)
from vllmctl.doctor.facts import Facts
from vllmctl.doctor.finding import Finding, Severity, in_order

ALL = (
    check_config, check_daemon, check_executable, check_gpu, check_gpus, check_gpu_memory,
    check_model, check_token, check_ports, check_open_files, check_shm, check_memory, check_disk,
    check_permissions, check_clock, check_systemd,
)  # fmt: skip


def examine(facts: Facts) -> list[Finding]:
    """What every check says, in the order of CHECKS."""
    findings = [finding for check in ALL for finding in check(facts)]
    for check, why in facts.unseen.items():
        findings.append(Finding(check, Severity.NOTE, f"could not be checked: {why}"))
    return in_order(findings)
