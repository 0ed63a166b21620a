"""The kill matrix: its most dangerous cells and a few that chance chose; that nothing is missing.

All of it: `make kill-matrix`. To play the same cells again, set VLLMCTL_KILL_SEED as printed.
"""

from __future__ import annotations

import ast
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from killing import matrix, steps, table
from killing.acts import ACTS

import vllmctl

DANGEROUS = (
    "come up: daemon: before fork server asked",
    "restart: daemon: after fork server heard",
    "restart: forkserver: after shim forked",
    "restart: shim of subject: after marks worn",
    "restart: shim of subject: before runs/ID/shim.tmp renamed to shim.json",
    "stop: daemon: after intent.json.tmp renamed to intent.json",
    "stop: shim of subject: before runs/ID/exit.tmp renamed to exit.json",
    "crash: forkserver: after child reaped",
    "crash: daemon: after instances/NAME.json.tmp renamed to NAME.json",
    "come back to a lost shim: daemon: before SIGKILL sent",
    "rotate: shim of subject: after logs/NAME.log renamed to NAME.log.N",
)
BY_CHANCE = 3

LOOKING = [
    "WEXITSTATUS", "WIFSIGNALED", "WTERMSIG", "access", "chdir", "close", "dup", "dup2",
    "fsdecode", "fsencode", "fstat", "geteuid", "getgrouplist", "getpid", "listdir", "lseek",
    "memfd_create", "pipe", "pread", "read", "readlink", "set_blocking", "set_inheritable",
    "setgid", "setgroups", "setsid", "setuid", "stat", "strerror", "umask", "_exit",
    "makedirs", "scandir", "lstat", "getxattr", "walk", "nice", "waitid", "getsid", "getppid",
    "closerange", "fstatvfs",
]  # fmt: skip
"""Functions that ask, reckon, change only what the process itself has, or act by another one."""


@pytest.fixture(scope="module")
def seed() -> int:
    return int(os.environ.get("VLLMCTL_KILL_SEED") or random.randrange(1000))


def play(cells: list[matrix.Cell]) -> None:
    outcomes = list(matrix.play_all(cells, 1))
    print(table.HEAD, *map(table.row, outcomes), sep="\n")
    assert [outcome for outcome in outcomes if outcome.broken] == []
    assert len(outcomes) == len(cells)


def test_a_death_at_the_most_dangerous_steps_breaks_no_promise() -> None:
    cells = [cell for cell in matrix.all_cells() if str(cell) in DANGEROUS]
    assert {str(cell) for cell in cells} == set(DANGEROUS)
    play(cells)


def test_a_death_at_steps_that_chance_chose_breaks_no_promise(seed: int) -> None:
    print(f"VLLMCTL_KILL_SEED={seed}")
    cells = [cell for cell in matrix.all_cells() if str(cell) not in DANGEROUS]
    play(random.Random(seed).sample(cells, BY_CHANCE))


def test_every_act_has_steps_of_the_daemon() -> None:
    acts = {cell.act for cell in matrix.all_cells() if cell.actor == "daemon"}
    assert acts | {"rotate"} == {act.name for act in ACTS}


def test_every_function_of_the_product_that_acts_on_the_system_is_a_step() -> None:
    """What audit events do not tell of (fsync, mkfifo, pidfds …) is found in the source."""
    installed = Path(steps.__file__).read_text()
    package = Path(vllmctl.__file__).parent
    files = [
        *package.glob("*.py"), *(package / "backend").glob("*.py"), *(package / "shim").glob("*.py")
    ]  # fmt: skip
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr=function)):
                    known = function in LOOKING or f'"{function}"' in installed
                    assert known, f"{file.name}: os.{function} is neither a step nor a look"


def test_what_no_step_stands_around_is_noticed(tmp_path: Path) -> None:
    code = (
        "import os, sys; forgotten = os.mkdir\n"
        "from killing import steps; steps.install('daemon', sys.argv[1], sys.argv[2])\n"
        "forgotten(sys.argv[2] + '/new'); os.mkdir(sys.argv[2] + '/known')"
    )
    root = tmp_path / "state"
    root.mkdir()
    words = [sys.executable, "-c", code, str(tmp_path), str(root)]
    subprocess.run(words, check=True, cwd=Path(__file__).parent)
    journal = (tmp_path / "journal").read_text()
    assert "unnamed\tdaemon\tos.mkdir" in journal
    assert "/new" in journal
    assert "done\tdaemon\tknown made" in journal
