"""Good files, and exactly the values they mean."""

from __future__ import annotations

import os
import pickle
import pwd
import sys
import textwrap
from pathlib import Path

import pytest

from vllmctl.config.errors import InvalidConfig
from vllmctl.config.load import Loaded, load
from vllmctl.core.spec import (
    Engine,
    Health,
    Instance,
    Launch,
    Log,
    Policy,
    Restart,
    RestartPolicy,
    Source,
    Stop,
)


def read(directory: Path, text: str, **environ: str) -> Loaded:
    path = directory / "models.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return load(str(path), environ)


def one(directory: Path, text: str, **environ: str) -> Instance:
    """The one model q with these settings."""
    settings = textwrap.indent(textwrap.dedent(text), "    ")
    return read(directory, f"models:\n  q:\n{settings}", **environ).instances["q"]


def errors(directory: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(InvalidConfig) as caught:
        read(directory, text, **environ)
    return [str(error).replace(f"{directory}/", "") for error in caught.value.errors]


def test_the_least_that_can_be_said_gets_every_default(tmp_path: Path) -> None:
    assert one(tmp_path, "model: m") == Instance(
        name="q",
        entry="q",
        engine=Engine.VLLM,
        launch=Launch(
            argv=("vllm", "serve", "m", "--host", "127.0.0.1", "--port", "{port}"),
            workdir=str(tmp_path),
        ),
        model="m",
        served="m",
        policy=Policy(),
    )


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name
    (tmp_path / "secrets.env").write_text("HF_TOKEN=abc\nFROM=file\n")
    (tmp_path / "sub").mkdir()
    instance = one(
        tmp_path,
        f"""
        model: Qwen/Qwen3-8B
        executable: [/opt/vllm/bin/vllm]
        args: {{max-model-len: 8192, enable-prefix-caching: true, hf-overrides: {{a: 1}}}}
        extra_args: [-O3, 7]
        host: 0.0.0.0
        port: 8001
        gpus: [1, 0]
        env: {{VERSION: 1.10, ON: true, FROM: env}}
        env_file: [secrets.env]
        workdir: sub
        user: {user}
        limits: {{nofile: 65536, memlock: unlimited, stack: 8MiB}}
        labels: [chat]
        autostart: false
        depends_on: []
        restart:
          {{policy: always, max_restarts: unlimited, delay: 1, factor: 1.5, max_delay: 1m,
            jitter: 0.1, reset_after: 1h}}
        health:
          {{path: /ping, interval: 500ms, timeout: 1h30m, failures: 5, start_timeout: 1h,
            stall_timeout: 5m, inference: off}}
        stop: {{signal: SIGINT, grace: 0.5}}
        log: {{max_size: 1GiB, keep: 0, compress: true}}
        """,
    )
    assert instance.launch == Launch(
        argv=(
            "/opt/vllm/bin/vllm", "serve", "Qwen/Qwen3-8B", "--host", "0.0.0.0", "--port", "{port}",
            "--enable-prefix-caching", "--hf-overrides", '{"a":1}', "--max-model-len", "8192",
            "-O3", "7",
        ),
        workdir=str(tmp_path / "sub"),
        env=(("FROM", "env"), ("HF_TOKEN", "abc"), ("ON", "true"), ("VERSION", "1.10")),
        user=user,
        limits=(("memlock", -1), ("nofile", 65536), ("stack", 8 * 1024**2)),
        gpus=(1, 0),
        host="0.0.0.0",
        port=8001,
    )  # fmt: skip
    assert instance.policy == Policy(
        restart=Restart(RestartPolicy.ALWAYS, None, 1.0, 1.5, 60.0, 0.1, 3600.0),
        health=Health("/ping", 0.5, 5400.0, 5, 3600.0, 300.0, None),
        stop=Stop(signal=2, grace=0.5),
        log=Log(max_size=1024**3, keep=0, compress=True),
        autostart=False,
        labels=("chat",),
    )


def test_a_command(tmp_path: Path) -> None:
    instances = read(
        tmp_path,
        """
        models:
          web:
            command:
              [./server, --port, "{port}", --name, "{name}", "{model}-{gpus}", 1.50, '{"a": 1}']
            gpus: [0, 2]
            replicas: 2
        """,
    ).instances
    assert list(instances) == ["web", "web:2"]
    second = instances["web:2"]
    assert (second.entry, second.engine, second.model, second.served) == (
        "web", Engine.COMMAND, None, None,
    )  # fmt: skip
    assert second.launch.argv == (
        "./server", "--port", "{port}", "--name", "web:2", "web-0,2", "1.50", '{"a": 1}',
    )  # fmt: skip
    assert second.policy.health.path == "/health"


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ("port: none", None),
        ("port: none\nhealth: {interval: 5s}", None),
        ("health: off", None),
        ("health: false", None),
        ("health: {interval: 5s}", "/health"),
    ],
)
def test_a_command_without_http(tmp_path: Path, settings: str, path: str | None) -> None:
    assert one(tmp_path, f"command: [sleep, 1]\n{settings}").policy.health.path == path


def test_the_simulator_runs_in_the_python_that_runs_vllmctl(tmp_path: Path) -> None:
    argv = one(tmp_path, "model: m\nengine: simulator").launch.argv
    assert argv[:5] == (sys.executable, "-m", "vllmctl.vllm.simulator", "serve", "m")


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", (0,)), ("[]", ()), ("none", ()), ("[3, 1]", (3, 1)), ('"none"', ())],
)
def test_gpus(tmp_path: Path, text: str, value: tuple[int, ...]) -> None:
    assert one(tmp_path, f"model: m\ngpus: {text}").launch.gpus == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("never", Restart(RestartPolicy.NEVER)),
        ("always", Restart(RestartPolicy.ALWAYS)),
        ("on-failure:3", Restart(max_restarts=3)),
        ("always:unlimited", Restart(RestartPolicy.ALWAYS, None)),
        ("{max_restarts: 0}", Restart(max_restarts=0)),
        ("{}", Restart()),
    ],
)
def test_restart(tmp_path: Path, text: str, value: Restart) -> None:
    assert one(tmp_path, f"model: m\nrestart: {text}").policy.restart == value


@pytest.mark.parametrize(
    ("args", "served"),
    [
        ("{served-model-name: a}", "a"),
        ("{served_model_name: [b, c]}", "b"),
        ("{served-model-name: 7}", "7"),
        ("{}", "m"),
    ],
)
def test_the_name_it_is_served_by(tmp_path: Path, args: str, served: str) -> None:
    assert one(tmp_path, f"model: m\nargs: {args}").served == served


def test_the_name_it_is_served_by_among_the_extra_words(tmp_path: Path) -> None:
    assert one(tmp_path, "model: m\nextra_args: [--served-model-name, x]").served == "x"
    assert one(tmp_path, "model: m\nextra_args: [--served-model-name=y]").served == "y"


def test_without_probes_no_name_is_asked_for(tmp_path: Path) -> None:
    assert one(tmp_path, "model: m\nhealth: off").served is None


def test_defaults_are_merged_key_by_key_and_lists_are_replaced(tmp_path: Path) -> None:
    instances = read(
        tmp_path,
        """
        defaults:
          env: {A: 1, B: 1}
          args: {max_model_len: 1, seed: 1}
          restart: {delay: 1s, max_restarts: 9}
          stop: {grace: 1s}
          labels: [x]
          health: off
        models:
          q:
            model: m
            env: {B: 2}
            args: {max-model-len: 2}
            restart: never
            labels: [y]
            health: {interval: 1s}
          r:
            model: m
            restart: on-failure:2
        """,
    ).instances
    q, r = instances["q"], instances["r"]
    assert q.launch.env == (("A", "1"), ("B", "2"))
    assert q.launch.argv[-4:] == ("--max-model-len", "2", "--seed", "1")
    assert q.policy.restart == Restart(RestartPolicy.NEVER, 9, 1.0)
    assert r.policy.restart == Restart(RestartPolicy.ON_FAILURE, 2, 1.0)
    assert (q.policy.labels, r.policy.labels) == (("y",), ("x",))
    assert (q.policy.health, r.policy.health.path) == (Health(interval=1.0), None)
    assert q.policy.stop.grace == r.policy.stop.grace == 1.0


def test_defaults_for_engines_are_nothing_to_a_command(tmp_path: Path) -> None:
    instances = read(
        tmp_path,
        """
        defaults: {engine: simulator, args: {seed: 1}, executable: x, port: auto}
        models: {q: {command: [sleep, 1]}}
        """,
    ).instances
    assert instances["q"].launch.argv == ("sleep", "1")


def test_the_place_of_a_line_in_the_file_changes_no_launch(tmp_path: Path) -> None:
    ways = (
        "models: {q: {model: m, args: {a: 1, b: {x: 1, y: 2}}, env: {A: 1, B: 2}}}",
        "models: {q: {env: {B: 2, A: 1}, args: {b: {y: 2, x: 1}, a: 1}, model: m}}",
        "{defaults: {args: {b: {x: 1, y: 2}}, env: {B: 2}},"
        " models: {q: {model: m, args: {a: 1}, env: {A: 1}}}}",
    )
    assert len({read(tmp_path, way).instances["q"].launch.digest() for way in ways}) == 1


def test_variables(tmp_path: Path) -> None:
    instance = one(
        tmp_path,
        """
        model: ${ORG}/${MODEL:-small}
        port: ${PORT}
        args: {name: "$${ORG} $x ${EMPTY:-e}${EMPTY}", revision: "${NUMBER}"}
        env: {N: "${NUMBER}", M: "${UNSET:-${ORG}}", L: "${ORG:?must be set}"}
        """,
        ORG="acme",
        PORT="8001",
        EMPTY="",
        NUMBER="007",
    )
    assert instance.model == "acme/small"
    assert instance.launch.port == 8001
    assert instance.launch.argv[-4:] == ("--name", "${ORG} $x e", "--revision", "007")
    assert dict(instance.launch.env) == {"N": "007", "M": "acme", "L": "acme"}


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    instances = read(
        tmp_path,
        """
        x-shared: &shared
          model: m
          args: &args {seed: 1}
        x-unused: ${NOT_SET}
        models:
          q: {<<: *shared, gpus: 0}
          r: {<<: [*shared, {gpus: 1}], args: {<<: *args, seed: 2}}
        """,
    ).instances
    assert (instances["q"].launch.gpus, instances["r"].launch.gpus) == ((0,), (1,))
    assert instances["r"].launch.argv[-1] == "2"


def test_no_models_is_a_wish_too(tmp_path: Path) -> None:
    assert read(tmp_path, "models: {}").instances == {}


def test_replicas(tmp_path: Path) -> None:
    instances = read(tmp_path, "models: {q: {model: m, replicas: 3}}").instances
    assert list(instances) == ["q", "q:2", "q:3"]
    assert {instance.entry for instance in instances.values()} == {"q"}
    assert len({instance.launch for instance in instances.values()}) == 1


def test_included_files(tmp_path: Path) -> None:
    (tmp_path / "models.d").mkdir()
    (tmp_path / "models.d/b.yaml").write_text("models: {b: {model: m, workdir: .}}")
    (tmp_path / "models.d/a.yaml").write_text(
        "defaults: {gpus: 1}\nmodels: {a: {model: m}}\ninclude: [more/c.yaml, ../models.yaml]"
    )
    (tmp_path / "models.d/more").mkdir()
    (tmp_path / "models.d/more/c.yaml").write_text(
        "models: {c: {model: m, env_file: [x.env], depends_on: [q]}}"
    )
    (tmp_path / "models.d/more/x.env").write_text("A=1")
    loaded = read(
        tmp_path,
        """
        defaults: {gpus: 0}
        include: [models.d/*.yaml, nothing/*.yaml]
        models: {q: {model: m, depends_on: [a]}}
        """,
    )
    assert {name: i.launch.gpus for name, i in loaded.instances.items()} == {
        "q": (0,), "a": (1,), "b": None, "c": None,
    }  # fmt: skip
    assert loaded.instances["b"].launch.workdir == str(tmp_path / "models.d")
    assert loaded.instances["c"].launch.env == (("A", "1"),)
    names = ["models.yaml", "models.d/a.yaml", "models.d/b.yaml", "models.d/more/c.yaml"]
    assert loaded.files == tuple(str(tmp_path / name) for name in [*names, "models.d/more/x.env"])
    assert loaded.globs[:2] == (str(tmp_path / "models.d/*.yaml"), str(tmp_path / "nothing/*.yaml"))


def test_a_model_in_two_files(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("\nmodels:\n  q: {model: m}\n")
    assert errors(tmp_path, "include: b.yaml\nmodels: {q: {model: m}}") == [
        "b.yaml:3:3: models.q: is defined in another file already (models.yaml:2); "
        "keep one of the two, or rename one"
    ]


def test_a_port_in_two_files(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("models: {r: {model: m, port: 80}}")
    assert errors(tmp_path, "include: b.yaml\nmodels: {q: {model: m, port: 80}}") == [
        "b.yaml:1:30: models.r.port: port 80 is that of q already (models.yaml:2); "
        "give one of them another, or port: auto"
    ]


def test_the_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("models: [")
    (tmp_path / "c.yaml").write_text("models: {r: {model: m, gpus: x}}")
    found = errors(
        tmp_path, "include: [b.yaml, c.yaml]\nmodels: {q: {model: m, gpu: 0, depends_on: [z]}}"
    )
    # z may well be in the file that cannot be read.
    assert [line.split(": ")[0] for line in found] == [
        "models.yaml:2:24", "b.yaml:1:10", "c.yaml:1:30",
    ]  # fmt: skip


def test_a_bad_file_says_what_to_watch(tmp_path: Path) -> None:
    text = "include: [x/*.yaml]\nmodels: {q: {model: m, env_file: missing.env}}"
    with pytest.raises(InvalidConfig) as caught:
        read(tmp_path, text)
    assert caught.value.files == (str(tmp_path / "models.yaml"), str(tmp_path / "missing.env"))
    assert caught.value.globs == (str(tmp_path / "x/*.yaml"),)


def test_a_bad_env_file_tells_its_line_and_no_value(tmp_path: Path) -> None:
    (tmp_path / "s.env").write_text("A=1\nHF_TOKEN hunter2\n")
    assert errors(tmp_path, "models: {q: {model: m, env_file: s.env}}") == [
        "s.env:2:1: is not VARIABLE=value; write it so, or put a '#' before it"
    ]


def test_where_each_value_came_from(tmp_path: Path) -> None:
    (tmp_path / "more.env").write_text("\nC=3\nA=0\nMY_TOKEN=abc\n")
    loaded = read(
        tmp_path,
        """\
        defaults:
          env: {A: 1}
          env_file: [more.env]
        models:
          q:
            model: ${ORG}/m
            args: {seed: 2, api-key: "${MY_KEY}"}
        """,
        ORG="org",
        MY_KEY="hunter22",
    )
    found = {one.path: one for one in loaded.settings["q"]}
    assert {path: (one.line, one.source) for path, one in found.items()} == {
        "env.A": (2, Source.DEFAULTS),
        "env_file": (3, Source.DEFAULTS),
        "model": (6, Source.MODEL),
        "args.seed": (7, Source.MODEL),
        "args.api-key": (7, Source.MODEL),
        "env.C": (2, Source.ENV_FILE),
        "env.MY_TOKEN": (4, Source.ENV_FILE),
    }
    assert (found["model"].value, found["model"].variables) == ("org/m", ("ORG",))
    assert found["env.C"].file == str(tmp_path / "more.env")
    assert found["env_file"].value == ["more.env"]
    hidden = {path for path, one in found.items() if one.hidden}
    assert hidden == {"args.api-key", "env.C", "env.MY_TOKEN"}
    assert "hunter22" not in repr(loaded.settings)
    assert found["args.api-key"].value == found["env.MY_TOKEN"].value == "(hidden)"


def test_what_stands_in_for_a_secret_variable_is_hidden_too(tmp_path: Path) -> None:
    text = "models: {q: {model: m, env: {A: 'x ${MY_TOKEN:-hunter22}', B: '${C:-b}'}}}"
    found = {one.path: one.value for one in read(tmp_path, text).settings["q"]}
    assert (found["env.A"], found["env.B"]) == ("(hidden)", "b")


def test_secret_flags_are_passed_in_the_environment(tmp_path: Path) -> None:
    launch = one(tmp_path, "model: m\nargs: {api-key: abc, hf_token: [xyz], seed: 1}").launch
    assert launch.env == (("HF_TOKEN", "xyz"), ("VLLM_API_KEY", "abc"))
    assert launch.argv[-2:] == ("--seed", "1")
    assert "--hf-token" in one(tmp_path, "model: m\nargs: {hf-token: true}").launch.argv


def test_a_secret_word_of_a_command_is_warned_about_and_hidden(tmp_path: Path) -> None:
    loaded = read(tmp_path, "models: {q: {command: [srv, --api-key, abc, --port, 1]}}")
    (warning,) = loaded.warnings
    assert (warning.path, warning.column) == ("models.q.command[2]", 40)
    assert loaded.settings["q"][0].value == ["srv", "--api-key", "(hidden)", "--port", "1"]
    assert loaded.instances["q"].launch.argv[2] == "abc"


def test_hosts_that_can_and_cannot_share_a_port(tmp_path: Path) -> None:
    def clash(one: str, other: str) -> bool:
        model = "{{model: m, port: 8000, host: '{}'}}"
        text = f"models: {{a: {model.format(one)}, b: {model.format(other)}}}"
        try:
            read(tmp_path, text)
        except InvalidConfig:
            return True
        return False

    for one, other in [
        ("127.0.0.1", "localhost"), ("::1", "localhost"), ("0.0.0.0", "10.0.0.1"),
        ("::", "127.0.0.1"), ("::", "::1"), ("::", "0.0.0.0"), ("10.0.0.1", "10.0.0.1"),
    ]:  # fmt: skip
        assert clash(one, other), (one, other)
        assert clash(other, one), (other, one)
    for one, other in [
        ("127.0.0.1", "10.0.0.1"), ("::1", "0.0.0.0"), ("::1", "127.0.0.1"), ("fe80::1", "::1"),
    ]:  # fmt: skip
        assert not clash(one, other), (one, other)
        assert not clash(other, one), (other, one)


def test_manual_reload(tmp_path: Path) -> None:
    assert read(tmp_path, "models: {}").automatic
    assert not read(tmp_path, "models: {}\nreload: manual").automatic
    (tmp_path / "more.yaml").write_text("models: {}\nreload: manual\n")
    assert errors(tmp_path, "models: {}\ninclude: more.yaml") == [
        "more.yaml:2:1: reload: applies to the whole configuration, and belongs into its main "
        "file; move it there"
    ]


def test_both_answers_cross_a_process_boundary(tmp_path: Path) -> None:
    loaded = read(tmp_path, "models: {q: {model: m}}")
    assert pickle.loads(pickle.dumps(loaded)) == loaded
    with pytest.raises(InvalidConfig) as caught:
        read(tmp_path, "models: {q: {}}")
    assert pickle.loads(pickle.dumps(caught.value)).errors == caught.value.errors


def test_too_many_instances(tmp_path: Path) -> None:
    models = "".join(f"  q{n}: {{model: m, replicas: 256}}\n" for n in range(60))
    assert "makes more than 10000 instances in all" in errors(tmp_path, f"models:\n{models}")[0]
