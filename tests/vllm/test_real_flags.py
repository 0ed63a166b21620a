"""What real vLLM's own parser says of flags (`make test-vllm`). Nothing is served here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from workplace import Site

from vllmctl.vllm.flags import shipped
from vllmctl.vllm.installed import Call, Installations

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]


@pytest.fixture
def vllm() -> str:
    """Its executable."""
    found = os.environ.get("VLLMCTL_TEST_VLLM")
    assert found, "VLLMCTL_TEST_VLLM must name vLLM's executable; `make test-vllm` sets it"
    return found


def test_the_shipped_list_of_flags_is_this_vllm_s_own(vllm: str, tmp_path: Path) -> None:
    """If it is not, `make flags` writes it anew."""
    answer = Installations(os.environ, str(tmp_path)).flags(Call((vllm,), str(tmp_path)))
    assert answer.unasked == ""
    assert answer.flags.flags == shipped().flags
    assert answer.flags.version.partition("+")[0] == shipped().version


def test_a_misspelt_flag_is_told_by_vllm_s_own_parser_before_launch(vllm: str, site: Site) -> None:
    args = "max-modle-len: 5, disable-log-stats: false"
    site.write(f"models: {{q: {{model: m, executable: {vllm}, args: {{{args}}}}}}}")
    done = site.run("validate", patience=120)
    assert done.returncode == 5
    assert "did you mean 'max-model-len'?" in done.stderr
    assert "there is no --no-disable-log-stats" in done.stderr
