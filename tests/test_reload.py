"""Saving models.yaml while models run: exactly what changed is touched."""

from __future__ import annotations

import json
import os
from typing import Any

from workplace import Model, Site, quick, wait_for


def save(site: Site, **models: dict[str, Any]) -> None:
    site.write(json.dumps({"models": models}, indent=1))


def generation(site: Site) -> int:
    number: int = site.document()["daemon"]["config"]["generation"]
    return number


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
