"""Scripts for a host: valid POSIX shell, values intact, secrets in the text and nowhere else."""

from __future__ import annotations

import ast
import hashlib
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from supervisor.options import UnhosedConfigParser

from tasks import facts, preflight, render, scripts, status
from tasks.commands import run
from tasks.scripts import PARTS, REMOTE, RUNNER, Script, action, probe
from tasks.secret import Secret
from tasks.settings import Secrets
from tests.unit.samples import API_KEY, REDIS_PASSWORD, SUPERVISOR_PASSWORD, target
from tests.unit.supervisor_files import read

LIB = (REMOTE / "lib.sh").read_text(encoding="utf-8")
PROBES = "\n".join((REMOTE / f"{part}.sh").read_text(encoding="utf-8") for part in PARTS[1:])
ACTIONS = sorted(path.stem for path in REMOTE.glob("*.sh") if path.stem not in PARTS)
SUBJECTS = re.findall(r"^probe_(\w+)\(\)", PROBES, re.MULTILINE)
PHP = "\n".join(path.read_text(encoding="utf-8") for path in REMOTE.glob("*.php"))
TOPICS = re.findall(r"^function topic_(\w+)", PHP, re.MULTILINE)
NASTY = (
    "it's",
    'say "x"',
    "a\\b\\n",
    "$HOME ${HOME} $(id) `id`",
    "two\nlines\n\n",
    "'; exit 1; '",
    "!! * ? [a] ~ # & | < >",
    "tab\there",
    "grüße €",
    "-n",
    "",
)


def _sh(text: str) -> str:
    done = subprocess.run(
        [*shlex.split(RUNNER), "name"],
        input=text,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def _within(script: Script, commands: str, *, library: bool = False) -> str:
    """What `commands` print in the place of a script's body, with its values in front."""
    values, found, _ = script.partition(LIB)
    assert found
    return _sh(f"{values}{LIB + PROBES if library else ''}\n{commands}\n}}\nmain </dev/null\n")


def _all_scripts(system: str = "debian-12") -> Iterator[Script]:
    for name in ACTIONS:
        yield action(name, target(system=system))
    yield probe(target(system=system), *SUBJECTS)


@pytest.mark.parametrize("system", ["debian-12", "rocky-9"])
@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_is_valid_shell_whatever_its_values(name: str, system: str) -> None:
    variables = {f"value_{number}": value for number, value in enumerate(NASTY)}
    script = action(name, target(system=system), **variables)
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("subjects", [(), *((subject,) for subject in SUBJECTS), SUBJECTS])
def test_a_probe_is_valid_shell(subjects: tuple[str, ...]) -> None:
    script = probe(target(), *subjects)
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert script.label == "+".join(subjects)
    body = script.rpartition(PROBES)[2]
    by_shell, _, by_php = body.partition("\ngather\n")
    found = [re.findall(r"^echo @\w+; probe_(\w+)$", part, re.M) for part in (by_shell, by_php)]
    asks_php = scripts._TOPICS.keys()
    assert found[0] == [subject for subject in subjects if subject not in asks_php]
    assert found[1] == [subject for subject in subjects if subject in asks_php]


def test_the_first_question_to_a_host_is_valid_shell_and_says_who_and_what() -> None:
    answer = facts.Identity().process(_sh(facts.Identity().command()).splitlines())
    assert answer.one("user").isdigit()
    assert answer.all("os-release") == [
        line.strip() for line in Path("/etc/os-release").read_text().splitlines()
    ]


@pytest.mark.parametrize("value", NASTY)
def test_a_value_reaches_the_script_as_it_is(value: str) -> None:
    script = action("record_proof", target(), some_value=value)
    assert _within(script, 'printf %s "$some_value"') == value


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_any_accepted_redis_password_reaches_the_script(password: str) -> None:
    script = probe(target(secrets=Secrets(redis_password=Secret(password))))
    assert json.loads(_within(script, 'printf %s "$desired_json"')) == {"redis_password": password}


@pytest.mark.parametrize("system", ["debian-12", "rocky-9", "ol-8"])
def test_the_platforms_commands_are_the_same_words_in_the_script(system: str) -> None:
    wanted = target(system=system, selinux="load")
    for name, text in {
        "package_query": wanted.platform.package_query,
        "package_install": wanted.platform.package_install,
        "package_offered": wanted.platform.package_offered,
        "packages": " ".join(wanted.packages()),
        "epel_packages": " ".join(wanted.platform.epel_packages),
    }.items():
        said = _within(probe(wanted), f"set -- ${name}\nprintf '%s\\n' \"$@\"").split("\n")[:-1]
        assert said == (text.split() or [""])


def test_values_of_the_target_are_under_the_names_that_scripts_use() -> None:
    wanted = target(
        {"misp_root": "/srv/misp", "legacy_service": "old", "drain_timeout": 7},
        system="rocky-9",
        web_user="apache",
        web_group="web",
        composer="php composer.phar",
        rpc_port=9005,
        rpc_user="rpc",
    )
    expected = {
        "misp_root": "/srv/misp",
        "legacy_service": "old",
        "drain_timeout": "7",
        "web_user": "apache",
        "web_group": "web",
        "composer": "php composer.phar",
        "rpc_port": "9005",
        "rpc_user": "rpc",
        "rpc_socket": "",
        "rpc_file": "/etc/supervisord.d/misp-rpc.ini",
        "group_file": "/etc/supervisord.d/misp-workers.ini",
        "supervisor_unit": "supervisord",
        "supervisor_transport": "tcp",
        "rpc_template": wanted.rpc_text(),
        "desired_password": SUPERVISOR_PASSWORD,
        "state_dir": "/var/lib/misp-workers-migration",
        "log_dir": "/var/log/misp-workers",
        "libraries": " ".join(scripts.LIBRARIES),
        "php_set_settings": (REMOTE / "set_settings.php").read_text(encoding="utf-8"),
    }
    printing = "\n".join(f"printf '%s\\0' \"${name}\"" for name in expected)
    script = action("record_proof", wanted)
    assert _within(script, printing).split("\0")[:-1] == list(expected.values())


def test_a_look_has_the_php_that_it_runs_and_no_other() -> None:
    look, step = probe(target(), *SUBJECTS), action("record_proof", target())
    assert set(re.findall(r"^(php_\w+)=", look.partition(LIB)[0], re.M)) == {"php_misp"}
    assert set(re.findall(r"^(php_\w+)=", step.partition(LIB)[0], re.M)) == set(scripts._PROGRAMS)


def test_a_command_in_a_script_cannot_read_the_rest_of_it() -> None:
    assert _within(probe(target()), "cat; cat; echo done") == "done\n"
    assert all(script.endswith("\n}\nmain </dev/null\n") for script in _all_scripts())


def test_every_variable_of_a_script_is_assigned_somewhere() -> None:
    passed = {key for _, keys in _runs() for key in keys}
    for name in ACTIONS:
        text = re.sub(r"(?m)(^|\s)#.*$", "", f"{LIB}\n{PROBES}\n{action_text(name)}")
        values = action(name, target()).partition(LIB)[0]
        assigned = set(re.findall(r"(?m)^(\w+)=", values)) | passed
        assigned |= set(re.findall(r"(?:^|[\s;&|(])(\w+)=", text))
        assigned |= set(re.findall(r"\bfor (\w+) in", text))
        assigned |= {
            word for reads in re.findall(r"\bread -r ([\w ]+)", text) for word in reads.split()
        }
        assigned |= {f"answer_{topic}" for topic in ("", *TOPICS)}  # by take_answers
        used = set(re.findall(r"\$\{?#?([a-z_]\w+)", text))
        assert used
        assert used - assigned == set()


def action_text(name: str) -> str:
    return (REMOTE / f"{name}.sh").read_text(encoding="utf-8")


def _calls(function: str) -> Iterator[ast.Call]:
    for path in REMOTE.parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == function:
                yield node


def _runs() -> list[tuple[str, set[str]]]:
    """Every action that a step runs, with the names of the variables it hands over."""
    return [
        (ast.literal_eval(call.args[0]), {keyword.arg or "" for keyword in call.keywords})
        for function in ("run", "_action")
        for call in _calls(function)
        if isinstance(call.args[0], ast.Constant)
    ]


def test_every_action_that_a_step_runs_is_there_and_none_is_left_over() -> None:
    assert {name for name, _ in _runs()} == set(ACTIONS)


def test_every_subject_that_a_step_asks_about_is_there_and_none_is_left_over() -> None:
    asked = {ast.literal_eval(word) for call in _calls("facts.ask") for word in call.args[1:]
             if isinstance(word, ast.Constant)}  # fmt: skip
    asked |= {*preflight.SUBJECTS, *status.SUBJECTS, *status.OF_A_RUN}
    assert asked == set(SUBJECTS)


SHOWN = Script("its name", "echo secret-text")


@pytest.mark.parametrize(
    "shown",
    [
        str(SHOWN),
        repr(SHOWN),
        f"{SHOWN}",
        f"{SHOWN!s} {SHOWN!r} {SHOWN:>40}",
        format(SHOWN),
        "{} {!r} {:>40}".format(SHOWN, SHOWN, SHOWN),  # noqa: UP032
        "%s %r" % (SHOWN, SHOWN),  # noqa: UP031
        str({"_stdin": SHOWN}),
        f"{(SHOWN,)}",
        logging.LogRecord("n", 10, "p", 1, "args %s", (SHOWN,), None).getMessage(),
        str(run("record_proof", target())),
        repr(run("record_proof", target())),
    ],
)
def test_a_script_shows_its_name_in_place_of_its_text(shown: str) -> None:
    assert shown
    assert "secret-text" not in shown
    assert SUPERVISOR_PASSWORD not in shown
    assert "its name" in shown or "record_proof" in shown


def test_a_script_is_its_text_where_it_is_sent() -> None:
    assert SHOWN.encode() == b"echo secret-text\n"
    assert Script("name", "ends already\n").encode() == b"ends already\n"
    assert _sh(SHOWN) == "secret-text\n"


def test_a_command_of_a_step_has_the_script_on_standard_input_and_its_name_as_argument() -> None:
    command = run("apply_workers", target(), group_text="the text", other="21")
    assert command.get_raw_value() == "sh -c 'eval \"$(cat)\"' -- apply_workers"
    sent = command.connector_arguments["_stdin"]
    assert isinstance(sent, Script)
    assert _within(sent, 'printf %s "$group_text$other"') == "the text21"


@pytest.mark.parametrize("script", list(_all_scripts()), ids=lambda script: script.label[:20])
def test_a_secret_stands_in_its_own_assignment_and_nowhere_else(script: Script) -> None:
    values, _, rest = script.partition(LIB)
    assert f"desired_password={SUPERVISOR_PASSWORD}\n" in values
    values = values.replace(f"desired_password={SUPERVISOR_PASSWORD}\n", "")
    redis = f"desired_json={shlex.quote(json.dumps({'redis_password': REDIS_PASSWORD}))}\n"
    assert redis in values
    remaining = values.replace(redis, "") + rest
    assert not any(
        part in remaining for part in (SUPERVISOR_PASSWORD, API_KEY, "50%", json.dumps("ü")[1:-1])
    )
    assert not any(secret in script.label for secret in (SUPERVISOR_PASSWORD, API_KEY))


def test_without_secrets_the_script_has_empty_values() -> None:
    script = probe(target(secrets=Secrets()))
    assert _within(script, 'printf %s "$desired_password$desired_json"') == "{}"


@pytest.mark.parametrize("value", NASTY[:6])
def test_the_shells_json_text_is_readable_json(value: str) -> None:
    script = action("record_proof", target(), value=value.replace("\n", " "))
    said = _within(script, """printf '"%s"' "$(json_text "$value")" """, library=True)
    assert json.loads(said) == value.replace("\n", " ")


def test_the_host_fills_the_rpc_file_with_the_hash_of_its_password() -> None:
    script = probe(target())
    said = _within(script, f"password_in_use={SUPERVISOR_PASSWORD}; rpc_text", library=True)
    sha1 = hashlib.sha1(SUPERVISOR_PASSWORD.encode()).hexdigest()  # noqa: S324
    assert said == render.rpc_over_tcp(9001, "supervisor", sha1)


def test_a_proof_is_recorded_for_what_the_next_look_sees() -> None:
    def evidence(answer: str, *topics: str) -> str:
        misp = f"misp() {{ printf '%s\\t{answer}\\n' \"$@\"; }}"
        asked = f'take_answers "$(misp {" ".join(topics)})"'
        return _within(probe(target()), f"{misp}\n{asked}\nevidence", library=True)

    look = evidence("one", "class", "evidence", "extension", "php_version")
    assert re.search("misp ([a-z_ ]+)", action_text("record_proof"))
    record = re.findall(r"misp ([a-z_ ]+)", action_text("record_proof"))[0].split()
    assert evidence("one", *record) == look != evidence("another", *record)


def test_answers_of_php_become_variables_and_nothing_else_does() -> None:
    said = "\n".join(
        [
            "class\tA yes",
            "Warning: something; with\ttabs",
            "x=1; touch here\tno",
            "class\tB * no",
            'settings\t{"a": "$(id) `id` \\" \\\\"}',
            "rpc\t",
        ]
    )
    show = 'printf "%s|" "$answer_class" "$answer_settings" "$answer_rpc" "${answer_Warning-none}"'
    shown = _within(
        probe(target()), f"take_answers {shlex.quote(said)}\n{show}\nset -- *\n", library=True
    )
    assert shown == 'A yes\nB * no|{"a": "$(id) `id` \\" \\\\"}||none|'


@pytest.mark.parametrize(
    ("groups", "unit"),
    [
        ("0::/system.slice/php8.2-fpm.service", "php8.2-fpm.service"),
        ("0::/system.slice/system-x.slice/x@1.service/worker", "x@1.service"),
        ("0::/user.slice/user@1.service/app.slice/own.service", "own.service"),
        ("12:cpu:/\n1:name=systemd:/system.slice/cron.service\n0::/", "cron.service"),
        ("0::/init.scope", ""),
        ("0::/", ""),
    ],
)
def test_a_process_belongs_to_the_innermost_unit_of_its_control_group(
    tmp_path: Path, groups: str, unit: str
) -> None:
    (tmp_path / "cgroup").write_text(f"{groups}\n")
    body = PROBES.replace("/proc/$1/cgroup", f"{tmp_path}/cgroup")
    said = _sh(f"{body}\nunit_of 1")
    assert said.strip() == unit


def test_the_least_free_space_counts_and_a_missing_path_does_not() -> None:
    least = _within(probe(target()), "free_kb / /proc /nowhere", library=True)
    assert least.isdigit()
    assert _within(probe(target()), "free_kb /nowhere", library=True) == ""


def test_a_value_over_several_lines_is_said_on_one() -> None:
    said = _within(probe(target()), "say key 'a\n* b\tc' d", library=True)
    assert said == "key\ta * b c d\n"


@pytest.mark.parametrize(
    "section",
    [
        "port=127.0.0.1:9001\nusername=rpc\npassword=abc123",
        "port = 9001 ; a comment\nusername = rpc # another\npassword = {SHA}ab=12",
        "; port=1\n# port=2\nport=*:9001\nusername=rpc\npassword=a;b#c",
        "username=rpc\npassword=with blanks inside \nport=localhost:9001",
    ],
)
def test_the_shell_reads_a_supervisor_file_as_supervisor_does(tmp_path: Path, section: str) -> None:
    text = (
        f"[program:a]\ncommand=/bin/true\n[inet_http_server]\n{section}\n[program:b]\ncommand=x\n"
    )
    path = tmp_path / "x.conf"
    path.write_text(text)
    said = {
        key: _within(
            probe(target()), f"section_of {path} inet_http_server {key}", library=True
        ).rstrip("\n")
        for key in ("port", "username", "password")
    }
    (server,) = (s for s in read(x=text).server_configs if s["section"] == "inet_http_server")
    assert (said["username"], said["password"]) == (server["username"], server["password"])
    assert int(said["port"].rpartition(":")[2]) == server["port"]


@pytest.mark.parametrize(
    "files",
    [
        "files = conf.d/*.conf",
        "files = conf.d/*.conf\n    more.d/*.ini\n    /srv/a.conf",
        "files =\n  conf.d/*.conf ; the package's\n\tmore.d/*.ini",
        "  files: conf.d/*.conf\n    more.d/*.ini",
        "files=conf.d/*.conf\n; no part of it\nother=x",
    ],
)
def test_the_shell_reads_a_value_over_several_lines(tmp_path: Path, files: str) -> None:
    path = tmp_path / "x.conf"
    path.write_text(f"[include]\n{files}\n[supervisord]\nfiles=none\n")
    parser = UnhosedConfigParser()
    parser.read_string(path.read_text())
    said = _within(probe(target()), f"section_of {path} include files", library=True)
    assert said.split() == parser.get("include", "files").split()


GROUP = "[group:misp-workers]\nprograms = default, prio ; MISP's\n[program:default]\nx=1\n"


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        (GROUP, []),
        (f"{GROUP}[program:prio]  ; five\n[program:mail]\n", ["[program:mail]"]),
        (f"{GROUP}[inet_http_server]\nport=1\n", ["[inet_http_server]"]),
        (f"{GROUP}[program:scheduler]\n", ["[program:scheduler]"]),
        (f"[program:mail]\n{GROUP}[group:other]\n", ["[program:mail]", "[group:other]"]),
    ],
)
def test_what_is_in_the_groups_file_and_not_of_the_group(
    tmp_path: Path, text: str, odd: list[str]
) -> None:
    (tmp_path / "group.conf").write_text(text)
    body = f"group_file={tmp_path}/group.conf\nodd_group_sections"
    assert _within(probe(target()), body, library=True).splitlines() == odd
    ours = target().group_text()
    (tmp_path / "group.conf").write_text(ours)
    assert _within(probe(target()), body, library=True) == ""


def test_the_directory_of_the_group_is_compared_as_a_place(tmp_path: Path) -> None:
    (tmp_path / "misp").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "misp")
    script = probe(target({"misp_root": f"{tmp_path}/link"}))

    def as_root(directory: str) -> str:
        return _within(script, f"as_misp_root '{directory}'", library=True)

    assert as_root(f"{tmp_path}/misp/") == as_root(f"{tmp_path}/link") == f"{tmp_path}/link"
    assert as_root("/srv/other") == "/srv/other"
    assert as_root("") == ""


@pytest.mark.parametrize(
    ("status", "is_old"),
    [
        ("misp-workers:default_00 RUNNING pid 1, uptime 0:00:09", True),
        ("misp-workers:default_00 STARTING", False),
        (
            "misp-workers:default_00 RUNNING pid 1, uptime 0:00:09\nmisp-workers:prio_00 BACKOFF",
            False,
        ),
        ("misp-workers:default_00 RUNNING pid 4194999, uptime 0:00:09", False),  # gone by now
        ("misp-workers:default_00 RUNNING pid $$, uptime 0:00:09", False),  # born now, says /proc
        ("", False),
    ],
)
def test_the_youngest_worker_is_as_old_as_its_process(status: str, is_old: bool) -> None:
    said = (
        f'status_over_rpc() {{ printf "%s\\n" "{status}"; }}\n[ "$(youngest)" -gt 100 ] && echo old'
    )
    assert (
        _within(action("record_proof", target()), f"{said} || true", library=True) != ""
    ) is is_old


WEB = """\
root 100 php8.2-fpm.service
www-data 250 php8.2-fpm.service
www-data 190 php8.2-fpm.service
www-data 200 by-hand.service
www-data 150
zabbix 10 zabbix.service
"""


@pytest.mark.parametrize(
    ("ticks", "units"),
    [
        (100, []),
        (170, ["(no unit)"]),
        (200, ["(no unit)", "by-hand.service", "php8.2-fpm.service"]),
    ],
)
def test_what_serves_misp_since_before_its_settings_is_known(
    tmp_path: Path, ticks: int, units: list[str]
) -> None:
    (tmp_path / "web").write_text(WEB)
    body = f"web_processes() {{ cat {tmp_path}/web; }}\nticks={ticks}\ncd {tmp_path}\nold_children"
    assert _within(probe(target()), body, library=True).splitlines() == units
    assert [path.name for path in tmp_path.iterdir()] == ["web"]


def test_an_old_worker_is_its_php_and_no_shell_around_it(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "resque").touch()
    for name in ("php", "wrapped"):
        (tmp_path / name).mkdir()
    php, wrapper = tmp_path / "php" / "php8.2", tmp_path / "wrapped" / "php"
    shutil.copy(shutil.which("tail") or "", php)  # it stays, as a worker does
    wrapper.write_text(f'#!/bin/sh\n{php} "$@"\nexit\n')
    wrapper.chmod(0o755)
    with subprocess.Popen([wrapper, "-f", "./bin/resque"], cwd=tmp_path) as shell:
        children = Path(f"/proc/{shell.pid}/task/{shell.pid}/children")
        while not (worker := children.read_text().strip()):
            time.sleep(0.01)
        try:
            found = _within(probe(target()), "resque_processes", library=True).split()
        finally:
            os.kill(int(worker), signal.SIGTERM)
    assert worker in found
    assert str(shell.pid) not in found
