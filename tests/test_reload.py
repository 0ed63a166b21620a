"""Saving models.yaml while models run: exactly what changed is touched."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from workplace import Model, Site, free_port, get, quick, runs, wait_for

from vllmctl.control.client import Client
from vllmctl.records import ConfigRecord, read_record


def save(site: Site, **models: dict[str, Any]) -> None:
    site.write(json.dumps({"models": models}, indent=1))


def generation(site: Site) -> int:
    number: int = site.document()["daemon"]["config"]["generation"]
    return number


def kept_generation(site: Site) -> int:
    """Of the reading that the next daemon would go on with."""
    record = read_record(site.state.last_good_config, ConfigRecord)
    return record.generation if record else 0


def test_a_changed_launch_replaces_that_model_and_no_other(site: Site) -> None:
    chat, embed = quick(), quick()
    save(site, chat=chat, embed=embed)
    site.start()
    before = {name: site.model(name) for name in ("chat", "embed")}
    save(site, chat=chat | {"args": chat["args"] | {"max-model-len": 256}}, embed=embed)
    after = wait_for(
        lambda: (
            (m := site.model("chat"))["pid"] != before["chat"]["pid"]
            and m["state"] == "RUNNING"
            and m
        ),
        "chat to be replaced",
    )
    assert after["restarts"]["total"] == 0  # a replacement is not a restart
    assert site.model("embed")["pids"] == before["embed"]["pids"]
    stopping = next(e for e in site.events("chat") if e["event"] == "STOPPING")
    assert "its launch changed: args.max-model-len" in stopping["sentence"]


def test_a_changed_policy_applies_to_the_running_process(site: Site) -> None:
    chat = quick(restart={"max_restarts": 7})
    save(site, chat=chat)
    site.start()
    before = site.model("chat")
    changed = chat | {
        "restart": {"max_restarts": 9},
        "log": {"max_size": 2000, "keep": 1},
        "stop": {"grace": "3s"},
    }
    save(site, chat=changed)
    wait_for(lambda: site.model("chat")["restarts"]["max"] == 9, "the policy to be read")
    wait_for(lambda: [e for e in site.events("chat") if e["event"] == "log"], "the shim to be told")
    url = f"{before['url']}/v1/models"
    for _ in range(40):
        import urllib.request

        with urllib.request.urlopen(url) as response:
            response.read()
    wait_for(lambda: os.path.exists(site.state.log("chat") + ".1"), "the log to be rotated")
    assert site.model("chat")["pids"] == before["pids"]


def test_models_that_come_and_go_in_the_file_start_and_stop(site: Site) -> None:
    chat, embed = quick(), quick()
    save(site, chat=chat)
    site.start()
    pids = site.model("chat")["pids"]
    save(site, chat=chat, embed=embed)
    wait_for(lambda: generation(site) == 2, "the new file to be read")
    site.wait_state("embed", "RUNNING")
    save(site, embed=embed)
    wait_for(lambda: [m["name"] for m in site.document()["models"]] == ["embed"], "chat to go")
    assert not set(pids) & set(site.leftovers())
    assert not os.path.exists(site.state.instance_record("chat"))
    assert os.path.exists(site.state.log("chat"))  # what it said stays


def test_a_broken_save_changes_nothing_and_status_says_where(site: Site) -> None:
    site.write(
        f"""\
        models:
          chat: {json.dumps(quick())}
        """
    )
    site.start()
    before = site.model("chat")
    good = site.file.read_text()
    site.file.write_text(good + "  embed:\n    modell: x\n")
    wait_for(lambda: not site.document()["daemon"]["config"]["valid"], "the broken file to be seen")
    config = site.document()["daemon"]["config"]
    error = config["errors"][0]
    assert (error["line"], error["column"]) == (4, 5)
    assert error["file"] == str(site.file)
    assert "modell" in error["path"] + error["message"]
    assert config["generation"] == 1
    shown = site.ok("status")
    assert "models.yaml:4:5" in shown
    assert "generation 1 stays in effect" in shown
    reload = site.run("reload")
    assert reload.returncode == 5
    assert "models.yaml:4:5" in reload.stderr
    assert site.model("chat")["pids"] == before["pids"]
    site.file.write_text(good)
    wait_for(lambda: site.document()["daemon"]["config"]["valid"], "the mended file to be seen")
    assert site.model("chat")["pids"] == before["pids"]


def test_a_deleted_file_changes_nothing_and_its_return_is_seen(site: Site) -> None:
    chat = quick()
    save(site, chat=chat)
    site.start()
    before = site.model("chat")
    site.file.unlink()
    wait_for(lambda: not site.document()["daemon"]["config"]["valid"], "the loss to be seen")
    assert site.model("chat")["pids"] == before["pids"]
    save(site, chat=chat, embed=quick())
    site.wait_state("embed", "RUNNING")
    assert site.model("chat")["pids"] == before["pids"]


def test_a_daemon_that_starts_beside_a_broken_file_goes_on_with_the_last_good_one(
    site: Site,
) -> None:
    save(site, chat=quick())
    site.start()
    before = site.model("chat")
    site.kill_daemon()
    site.file.write_text("models: [")
    done = site.run("start")
    assert done.returncode == 0
    assert "is not valid" in done.stderr
    assert site.model("chat")["pids"] == before["pids"]
    assert site.document()["daemon"]["config"]["valid"] is False


def test_a_config_map_s_link_swap_is_a_save(site: Site) -> None:
    chat = quick()

    def deploy(version: str, model: Model) -> None:
        folder = site.root / version
        folder.mkdir()
        (folder / "models.yaml").write_text(json.dumps({"models": {"chat": model}}))
        link = site.root / "..data.new"
        link.symlink_to(version)
        link.rename(site.root / "..data")

    deploy("..v1", chat)
    site.file.symlink_to("..data/models.yaml")
    site.start()
    before = site.model("chat")
    deploy("..v2", chat | {"env": {"ROUND": "2"}})
    after = wait_for(
        lambda: (m := site.model("chat"))["pid"] not in (None, before["pid"]) and m,
        "the model to be replaced",
    )
    assert after["name"] == "chat"


def test_an_edit_in_place_and_many_saves_in_a_row_end_with_the_last(site: Site) -> None:
    chat = quick()
    save(site, chat=chat)
    site.start()
    for number in range(1, 11):
        text = json.dumps({"models": {"chat": chat | {"labels": [f"v{number}"]}}})
        site.file.write_text(text)  # truncates and writes: a reader may see half of it
    wait_for(lambda: site.model("chat")["labels"] == ["v10"], "the last save to be in effect")
    assert len([e for e in site.events("chat") if e["event"] == "STARTING"]) == 1


def test_a_save_that_nobody_notifies_of_is_seen_too(site: Site) -> None:
    chat = quick()
    save(site, chat=chat)
    elsewhere = site.root / "elsewhere"
    elsewhere.mkdir()
    other_name = elsewhere / "link.yaml"
    other_name.hardlink_to(site.file)  # inotify tells only the directory that was written through
    site.start()
    other_name.write_text(json.dumps({"models": {"chat": chat | {"labels": ["seen"]}}}))
    wait_for(lambda: site.model("chat")["labels"] == ["seen"], "the save to be in effect")


# -- a changed policy is in effect on the running process ------------------------------------


def crash(model: Model) -> None:
    os.kill(model["pid"], signal.SIGKILL)


def test_a_changed_delay_counts_for_the_next_restart(site: Site) -> None:
    chat = quick(restart={"delay": "1h", "max_delay": "1h"})
    save(site, chat=chat)
    site.start()
    before = site.model("chat")
    save(site, chat=chat | {"restart": {"delay": "50ms"}})
    wait_for(lambda: generation(site) == 2, "the policy to be read")
    crash(before)
    after = wait_for(
        lambda: (m := site.model("chat"))["restarts"]["total"] == 1 and m["ready_at"] and m,
        "the restart",
    )
    assert after["pid"] != before["pid"]


def test_a_changed_delay_counts_for_a_restart_that_is_waited_for(site: Site) -> None:
    chat = quick(restart={"delay": "1h", "max_delay": "1h"})
    save(site, chat=chat)
    site.start()
    crash(site.model("chat"))
    site.wait_state("chat", "BACKOFF")
    save(site, chat=chat | {"restart": {"delay": "50ms"}})
    site.wait_state("chat", "RUNNING")


def test_a_changed_health_interval_is_in_effect_at_once(site: Site) -> None:
    chat = quick(health={"interval": "1h"})
    save(site, chat=chat)
    site.start()
    before = site.model("chat")
    save(site, chat=chat | {"health": {"interval": "50ms"}})
    seen: set[str] = set()

    def often() -> bool:
        seen.add(str(site.model("chat")["health"]["checked_at"]))
        return len(seen) > 3

    wait_for(often, "several probes")
    assert site.model("chat")["pids"] == before["pids"]


def test_a_changed_grace_is_that_of_the_next_stop(site: Site) -> None:
    chat = quick(args={"simulate-ignore-term": True}, stop={"grace": "1h"})
    save(site, chat=chat)
    site.start()
    pids = site.model("chat")["pids"]
    save(site, chat=chat | {"stop": {"grace": "100ms"}})
    wait_for(lambda: generation(site) == 2, "the policy to be read")
    assert site.model("chat")["pids"] == pids
    site.ok("stop", "chat", patience=20)
    assert not [pid for pid in pids if runs(pid)]


@pytest.mark.parametrize("killed", [False, True])
def test_a_changed_grace_is_that_of_a_model_that_leaves_the_file(site: Site, killed: bool) -> None:
    chat = quick(args={"simulate-ignore-term": True}, stop={"grace": "1h"})
    save(site, chat=chat)
    site.start()
    pids = site.model("chat")["pids"]
    save(site, chat=chat | {"stop": {"grace": "100ms"}})
    wait_for(lambda: generation(site) == 2, "the policy to be read")
    if killed:
        wait_for(lambda: kept_generation(site) == 2, "the policy to be written down")
        site.kill_daemon()
    save(site)
    if killed:
        site.start("--no-wait")
    wait_for(lambda: not [pid for pid in pids if runs(pid)], "chat to go", patience=20)


# -- which files, and when -------------------------------------------------------------------


def test_included_files_and_env_files_are_watched_too(site: Site) -> None:
    more, secret = site.root / "models.d", site.root / "chat.env"
    more.mkdir()
    secret.write_text("ROUND=1\n")
    (more / "a.yaml").write_text(
        json.dumps({"models": {"chat": quick(env_file="../chat.env")}}) + "\n"
    )
    site.write("{include: [models.d/*.yaml]}")
    site.start()
    first = site.model("chat")
    secret.write_text("ROUND=2\n")
    second = wait_for(
        lambda: (m := site.model("chat"))["pid"] not in (None, first["pid"]) and m, "a new process"
    )
    environ = Path(f"/proc/{second['pid']}/environ").read_bytes()
    assert b"ROUND=2" in environ.split(b"\0")
    (more / "b.yaml").write_text(json.dumps({"models": {"embed": quick()}}) + "\n")
    site.wait_state("embed", "RUNNING")
    (more / "b.yaml").unlink()
    wait_for(lambda: site.find("embed") is None, "embed to go with its file")


def test_a_file_that_is_being_written_is_not_read(site: Site) -> None:
    """Its beginning is a good file by itself; somebody has it open and goes on later."""
    chat, embed = quick(), quick()
    lines = ["models:", f"  chat: {json.dumps(chat)}", f"  embed: {json.dumps(embed)}", ""]
    site.write("\n".join(lines))
    site.start()
    before = {m["name"]: m["pids"] for m in site.document()["models"]}
    with site.file.open("w") as file:
        file.write("\n".join(lines[:2]) + "\n")
        file.flush()
        site.ok("stop", "chat")  # the daemon has had more time than it takes to read the file
        site.ok("start", "chat")
        assert site.find("embed") is not None
        assert generation(site) == 1
        file.write(f"  embed: {json.dumps(embed | {'labels': ['done']})}\n")
    wait_for(lambda: site.model("embed")["labels"] == ["done"], "the whole file to be in effect")
    assert site.model("embed")["pids"] == before["embed"]


def test_an_unreadable_file_and_a_directory_in_its_place_change_nothing(site: Site) -> None:
    chat = quick()
    save(site, chat=chat)
    site.start()
    pids = site.model("chat")["pids"]
    kept = site.file.rename(site.root / "kept")
    site.file.mkdir()
    wait_for(lambda: not site.document()["daemon"]["config"]["valid"], "the directory to be seen")
    site.file.rmdir()
    kept.rename(site.file)
    wait_for(lambda: site.document()["daemon"]["config"]["valid"], "the file to be seen again")
    assert site.model("chat")["pids"] == pids


def test_manual_reload_leaves_saves_alone_until_it_is_asked(site: Site) -> None:
    chat = quick()
    site.write(json.dumps({"reload": "manual", "models": {"chat": chat}}))
    site.start()
    assert site.document()["daemon"]["config"]["reload"] == "manual"
    pids = site.model("chat")["pids"]
    changed = chat | {"env": {"ROUND": "2"}}
    site.write(json.dumps({"reload": "manual", "models": {"chat": changed}}))
    shown = site.run("diff")
    assert shown.returncode == 1
    assert "env.ROUND" in shown.stdout
    assert site.model("chat")["pids"] == pids
    assert generation(site) == 1
    site.ok("reload")
    wait_for(lambda: site.model("chat")["pid"] not in (None, pids[0]), "the replacement")
    site.write(json.dumps({"reload": "auto", "models": {"chat": changed}}))
    site.ok("reload")
    site.write(json.dumps({"models": {"chat": changed, "embed": quick()}}))
    site.wait_state("embed", "RUNNING")  # watched again


def test_a_daemon_killed_in_manual_mode_reads_the_file_when_it_comes_back(site: Site) -> None:
    site.write(json.dumps({"reload": "manual", "models": {"chat": quick()}}))
    site.start()
    pids = site.model("chat")["pids"]
    site.kill_daemon()
    site.ok("start", "chat")
    assert site.model("chat")["pids"] == pids
    assert site.document()["daemon"]["config"]["reload"] == "manual"


# -- diff ------------------------------------------------------------------------------------


def test_diff_says_what_would_be_done_and_nothing_is(site: Site) -> None:
    chat, embed, old = quick(), quick(), quick()
    save(site, chat=chat, embed=embed, old=old, same=quick(autostart=False))
    site.start()
    before = {m["name"]: m["pids"] for m in site.document()["models"]}
    same = json.loads(site.file.read_text())["models"]["same"]
    other = site.root / "other.yaml"
    other.write_text(
        json.dumps(
            {
                "models": {
                    "chat": chat | {"args": chat["args"] | {"max-model-len": 9}},
                    "embed": embed | {"restart": {"delay": "9s"}, "log": {"keep": 1}},
                    "new": old,
                    "same": same,
                }
            }
        )
    )
    done = site.run("diff", str(other), "--json")
    assert done.returncode == 1
    changes = {one.pop("name"): one for one in json.loads(done.stdout)["changes"]}
    assert changes == {
        "chat": {
            "action": "replace",
            "reason": "its launch changed: args.max-model-len",
            "fields": ["args.max-model-len"],
        },
        "embed": {
            "action": "update",
            "reason": "without a restart: restart.delay, log.keep",
            "fields": ["restart.delay", "log.keep"],
        },
        "new": {"action": "start", "reason": "new in the file", "fields": []},
        "old": {"action": "stop", "reason": "no longer in the file", "fields": []},
        "same": {"action": "keep", "reason": "unchanged", "fields": []},
    }
    text = site.run("diff", str(other)).stdout
    assert "stop     old" in text
    assert "start    new" in text
    assert "keep     1 more" in text
    assert {m["name"]: m["pids"] for m in site.document()["models"]} == before
    site.write(other.read_text())
    wait_for(lambda: generation(site) == 2, "the file to be read")
    after = wait_for(
        lambda: (
            (now := {m["name"]: m for m in site.document()["models"]}).keys()
            == {"chat", "embed", "new", "same"}
            and all(m["state"] in ("RUNNING", "STOPPED") for m in now.values())
            and now
        ),
        "what was said to be done",
    )
    assert after["embed"]["pids"] == before["embed"]
    assert after["chat"]["pid"] not in before["chat"]
    assert not [pid for pid in before["old"] if runs(pid)]


def test_diff_of_the_same_file_is_nothing(site: Site) -> None:
    save(site, chat=quick())
    site.start()
    done = site.run("diff")
    assert (done.returncode, done.stdout) == (0, "nothing would change (1 kept)\n")


def test_diff_of_a_bad_file_shows_its_errors(site: Site) -> None:
    save(site, chat=quick())
    site.start()
    other = site.root / "other.yaml"
    other.write_text("models: {chat: {modle: x}}\n")
    done = site.run("diff", str(other))
    assert done.returncode == 5
    assert f"{other}:1:17: models.chat.modle" in done.stderr
    assert site.run("diff", str(site.root / "nowhere.yaml")).returncode == 5


# -- ports of others -------------------------------------------------------------------------


def test_a_port_that_another_program_holds_is_an_error_of_the_file_that_claims_it(
    site: Site,
) -> None:
    chat = quick()
    save(site, chat=chat)
    site.start()
    pids = site.model("chat")["pids"]
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", free_port()))
        stranger.listen()
        port = stranger.getsockname()[1]
        save(site, chat=chat, embed=quick(port=port))
        wait_for(lambda: not site.document()["daemon"]["config"]["valid"], "the file to be refused")
        (error,) = site.document()["daemon"]["config"]["errors"]
        assert error["path"] == "models.embed.port"
        assert f"port {port} is held by another program" in error["message"]
        assert f"(pid {os.getpid()})" in error["message"]
        validated = site.run("validate")
        assert validated.returncode == 5
        assert f"(pid {os.getpid()})" in validated.stderr  # and nothing of chat's own port
        assert validated.stderr.count("\n") == 1
    assert site.model("chat")["pids"] == pids
    site.ok("reload")
    site.wait_state("embed", "RUNNING")


def test_a_port_that_was_right_stays_right_whoever_has_taken_it(site: Site) -> None:
    chat = quick(autostart=False)
    save(site, chat=chat)
    site.start()
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", chat["port"]))
        stranger.listen()
        save(site, chat=chat, embed=quick())
        site.wait_state("embed", "RUNNING")  # one port is no reason to leave all the rest


def test_a_port_moves_from_one_model_to_another(site: Site) -> None:
    chat, embed = quick(), quick()
    save(site, chat=chat, embed=embed)
    site.start()
    save(site, chat=chat | {"port": embed["port"]}, embed=embed | {"port": chat["port"]})
    wait_for(lambda: generation(site) == 2, "the file to be read")
    for name, port in (("chat", embed["port"]), ("embed", chat["port"])):
        wait_for(
            lambda name=name, port=port: (
                (m := site.model(name))["port"] == port and m["state"] == "RUNNING"
            ),
            f"{name} on port {port}",
        )
        assert get(f"http://127.0.0.1:{port}/health")[0] == 200


# -- show ------------------------------------------------------------------------------------


def test_show_tells_the_definition_in_effect_and_where_it_came_from(site: Site) -> None:
    (site.root / "chat.env").write_text("\nHF_TOKEN=open sesame\n")
    site.environ["MY_DATA"] = "/data"
    chat = quick(port="auto", env_file="chat.env", restart="on-failure:3")
    site.write(
        json.dumps(
            {
                "defaults": {"env": {"HF_HOME": "${MY_DATA}/hf"}},
                "models": {"chat": chat | {"args": chat["args"] | {"api-key": "sesame2"}}},
            }
        )
    )
    site.start()
    model = site.model("chat")
    document = json.loads(site.ok("show", "chat", "--json"))
    (definition,) = document["definitions"]
    with open(f"/proc/{model['pid']}/cmdline", "rb") as file:
        assert definition["command"] == file.read().decode().split("\0")[:-1]
    assert definition["environment"] == {
        "HF_HOME": "/data/hf",
        "HF_TOKEN": "(hidden)",
        "VLLM_API_KEY": "(hidden)",
    }
    settings = {one["path"]: one for one in definition["settings"]}
    assert settings["env.HF_HOME"]["source"] == "defaults"
    assert settings["env.HF_HOME"]["variables"] == ["MY_DATA"]
    assert (settings["env.HF_TOKEN"]["file"], settings["env.HF_TOKEN"]["line"]) == (
        str(site.root / "chat.env"),
        2,
    )
    assert settings["restart.max_restarts"]["value"] == 3
    assert settings["stop.grace"] == {
        "path": "stop.grace", "value": "30s", "source": "default", "hidden": False,
    }  # fmt: skip
    text = site.ok("show", "chat")
    assert "env.HF_HOME" in text
    assert "models.yaml:1 (defaults, $MY_DATA)" in text
    everything = text + json.dumps(document) + json.dumps(site.document())
    everything += site.ok("status") + site.daemon_log()
    with open(f"/proc/{model['pid']}/cmdline", "rb") as file:
        everything += file.read().decode()
    assert "sesame" not in everything
    assert site.run("show", "chta").returncode == 4


def test_show_goes_on_telling_the_last_good_definition(site: Site) -> None:
    save(site, chat=quick(labels=["x"]))
    site.start()
    site.kill_daemon()
    site.file.write_text("models: [\n")
    site.run("start")
    assert "labels" in site.ok("show", "chat")
    assert "1 kept" not in site.run("diff").stdout


def test_the_socket_says_the_same_as_the_commands(site: Site) -> None:
    save(site, chat=quick())
    site.start()
    client = Client(site.state.socket)
    assert client.get("/v1/diff").body["changes"][0]["action"] == "keep"
    assert client.get("/v1/diff?file=relative.yaml").status == 400
    assert client.get("/v1/diff?file=/nowhere/x.yaml").status == 422
    assert client.get("/v1/models/chat/definition").body["definitions"][0]["name"] == "chat"
    assert client.get("/v1/models/nope/definition").status == 404


def test_a_secret_in_the_log_is_not_repeated_in_the_diagnosis(site: Site) -> None:
    """The server itself prints the key; what vllmctl says about its end does not."""
    code = "import os, sys; sys.exit('RuntimeError: CUDA out of memory, ' + os.environ['A_TOKEN'])"
    engine = {"model": "m", "executable": ["python3", "-c", code], "port": free_port()}
    save(site, chat=engine | {"env": {"A_TOKEN": "open-sesame"}, "restart": "never"})
    site.environ["PATH"] = os.environ["PATH"]
    assert site.run("start").returncode == 1
    model = site.model("chat")
    assert "open-sesame" in site.log("chat")
    assert model["last_exit"]["diagnosis"]["evidence"]
    assert "open-sesame" not in json.dumps(site.document()) + site.daemon_log()


def test_status_says_that_the_file_was_saved_since(site: Site) -> None:
    chat = quick()
    site.write(json.dumps({"reload": "manual", "models": {"chat": chat}}))
    site.start()
    assert site.document()["daemon"]["config"]["stale"] is False
    site.write(json.dumps({"reload": "manual", "models": {"chat": chat, "more": quick()}}))
    assert site.document()["daemon"]["config"]["stale"] is True
    said = site.ok("status").splitlines()
    assert "was saved since it was read (reload: manual); `vllmctl diff` shows" in said[0]
    assert said[1] == ""
    assert said[2].startswith("NAME")
    site.ok("reload")
    assert site.document()["daemon"]["config"]["stale"] is False
    assert site.ok("status").startswith("NAME")
