"""`vllmctl init` as a process."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest
from clinic import Bench, small_disk
from workplace import COMMAND, Site

from vllmctl.editing.replace import create


@pytest.fixture
def bench(site: Site) -> Bench:
    return Bench(site)


def test_without_a_gpu_it_serves_the_simulator_and_start_works_at_once(bench: Bench) -> None:
    said = bench.site.ok("init")
    assert said.startswith(f"wrote {bench.site.file}\n")
    assert "no GPU" in said
    assert "no vLLM" in said
    assert f"vllmctl -c {bench.site.file} doctor" in said
    text = bench.site.file.read_text()
    assert "engine: simulator" in text
    assert "valid (1 model)" in bench.site.ok("validate")
    assert bench.site.run("doctor").returncode == 0
    assert "RUNNING" in bench.site.start()


def test_with_a_gpu_and_vllm_it_serves_what_is_in_the_cache(bench: Bench) -> None:
    bench.gpus(81000, 81000)
    bench.vllm()
    bench.cache("Qwen/Qwen3-14B", 29 * 10**9)
    said = bench.site.ok("init")
    assert "2 GPUs: NVIDIA H100 80GB HBM3 with 79.6 GiB" in said
    assert "Qwen/Qwen3-14B (29 GB)" in said
    text = bench.site.file.read_text()
    assert "model: Qwen/Qwen3-14B" in text
    assert "engine:" not in text
    bench.site.ok("validate")
    assert bench.site.run("doctor").returncode == 0


def test_a_vllm_beside_the_path_is_named(bench: Bench) -> None:
    bench.gpus(81000)
    bench.vllm()
    place = bench.site.root / "home" / ".venv" / "bin"
    place.mkdir(parents=True)
    os.rename(bench.bin / "vllm", place / "vllm")
    assert f"executable: [{place}/vllm]" in bench.site.ok("init", "--stdout")


def test_hf_home_is_kept(bench: Bench) -> None:
    bench.gpus(81000)
    bench.vllm()
    bench.site.environ["HF_HOME"] = str(bench.site.root / "my $hf, here")
    bench.site.ok("init")
    shown = bench.site.ok("validate")
    assert "valid" in shown
    assert '"' + str(bench.site.root / "my $$hf, here") + '"' in bench.site.file.read_text()


def test_a_file_that_is_there_stays_unless_force_is_said(bench: Bench) -> None:
    bench.site.file.write_text("mine\n")
    bench.site.file.chmod(0o640)
    done = bench.site.run("init")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"vllmctl: {bench.site.file} is already there; --force replaces it, "
        "--stdout prints what would be written\n"
    )
    assert bench.site.file.read_text() == "mine\n"
    bench.site.ok("init", "--force")
    assert "models:" in bench.site.file.read_text()
    assert bench.site.file.stat().st_mode & 0o777 == 0o640


def test_a_link_that_leads_nowhere_is_not_written_through(bench: Bench) -> None:
    target = bench.site.root / "elsewhere"
    bench.site.file.symlink_to(target)
    assert bench.site.run("init").returncode == 1
    assert not target.exists()


def test_stdout_writes_nothing(bench: Bench) -> None:
    text = bench.site.ok("init", "--stdout")
    assert text.startswith("# yaml-language-server: $schema=/")
    assert Path(text.splitlines()[0].partition("=")[2]).is_file()
    assert not bench.site.file.exists()


def test_without_a_named_file_it_goes_into_the_current_directory(bench: Bench) -> None:
    del bench.site.environ["VLLMCTL_CONFIG"]
    said = bench.site.ok("init")
    assert (bench.site.root / "models.yaml").exists()
    assert "vllmctl doctor " in said


def test_a_folder_that_is_not_there_or_takes_nothing(bench: Bench) -> None:
    bench.site.environ["VLLMCTL_CONFIG"] = str(bench.site.root / "no" / "models.yaml")
    done = bench.site.run("init")
    assert done.returncode == 1
    assert "cannot be written: no such file or directory" in done.stderr
    bench.site.environ["VLLMCTL_CONFIG"] = "/dev/full/models.yaml"
    assert bench.site.run("init").returncode == 1
    bench.site.environ["VLLMCTL_CONFIG"] = "/proc/models.yaml"
    done = bench.site.run("init")
    assert done.returncode == 1
    assert done.stderr.startswith("vllmctl: /proc/models.yaml cannot be written: ")


def test_nothing_is_left_behind(bench: Bench) -> None:
    bench.site.ok("init")
    bench.site.run("init")
    bench.site.ok("init", "--force")
    assert [name for name in os.listdir(bench.site.root) if "tmp" in name] == []


def test_on_a_full_disk_there_is_nothing_rather_than_half_a_file(bench: Bench) -> None:
    with small_disk(bench.site.root / "small") as disk:
        with open(disk / "filler", "wb") as filler:
            filler.write(b"x" * 2**21)
        bench.site.environ["VLLMCTL_CONFIG"] = str(disk / "models.yaml")
        done = bench.site.run("init")
        assert done.returncode == 1
        assert done.stderr.endswith("cannot be written: no space left on device\n")
        assert os.listdir(disk) == ["filler"]


def test_in_a_directory_that_was_removed(bench: Bench) -> None:
    del bench.site.environ["VLLMCTL_CONFIG"]
    words = " ".join([*COMMAND, "init"])
    done = subprocess.run(
        ["bash", "-c", f"mkdir gone; cd gone; rmdir ../gone; {words}"],
        env=bench.site.environ,
        cwd=bench.site.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "vllmctl: the current directory no longer exists; change to another\n"


def test_a_file_system_without_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    place = str(tmp_path / "models.yaml")
    create(place, "first\n")
    with pytest.raises(FileExistsError):
        create(place, "second\n")
    assert os.listdir(tmp_path) == ["models.yaml"]
    assert Path(place).read_text() == "first\n"
