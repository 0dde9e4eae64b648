"""What a host answers is not believed: lies of every type end that host's run, and no other's.

Covers H5, and of H6 what one byte does to an answer. An attack counts as held off when the tool
says something sensible of the host that lies (a refusal, or that nothing is wrong), the host that
does not is looked at all the same, and no exception reaches the operator.
"""

from __future__ import annotations

import pytest

from lab.hosts import LabHost
from lab.lab import Lab
from tests.hostile import attacks, operate
from tests.hostile.attacks import APP, CAKE, CONFIG, VERSION

# ruff: noqa: E501 # what lies stands in one line

SPECS = (attacks.spec("liar"), attacks.spec("honest"))

BRACKETS = "python3 -c 'print(\"[\" * 100000)'"
DIGITS = "python3 -c 'print(\"9\" * 40000)'"

# By name: what the web user does in its tree, as shell.
FILES = {
    "version-infinite": f"""echo '{{"major":1e999,"minor":5,"hotfix":1}}' >{VERSION}""",
    "version-nested": f"{BRACKETS} >{VERSION}",
    "version-of-40000-digits": f"""printf '{{"major":%s,"minor":1,"hotfix":1}}' $({DIGITS}) >{VERSION}""",
    "version-negative": f"""echo '{{"major":-2,"minor":true,"hotfix":null}}' >{VERSION}""",
    "version-of-lists": f"""echo '{{"major":[2],"minor":{{}},"hotfix":"x"}}' >{VERSION}""",
    "version-no-utf-8": f"""printf '{{"major":2,"minor":5,"hotfix":1,"\\377":1}}' >{VERSION}""",
    "version-with-nul": f"""printf '{{"major":2,\\000"minor":5}}' >{VERSION}""",
    "version-folder": f"rm {VERSION}; mkdir {VERSION}",
    "cake-nested": f"""printf '#!/bin/sh\\nhead -c 99999 /dev/zero | tr "\\\\0" "["\\n' >{CAKE}""",
    "composer-json-nested": f"{BRACKETS} >{APP}/composer.json",
}

# By name: PHP behind MISP's own config.php.
SETTINGS = {
    "block-text": '$config["SimpleBackgroundJobs"] = "x";',
    "block-list": '$config["SimpleBackgroundJobs"] = array(array(array()));',
    "port-of-5000-digits": '$config["SimpleBackgroundJobs"]["redis_port"] = str_repeat("9", 5000);',
    "port-infinite": '$config["SimpleBackgroundJobs"]["redis_port"] = INF;',
    "timeout-nan": '$config["SimpleBackgroundJobs"]["redis_read_timeout"] = NAN;',
    "host-list": '$config["SimpleBackgroundJobs"]["redis_host"] = array("localhost");',
    "host-no-utf-8": '$config["SimpleBackgroundJobs"]["redis_host"] = "local\\xff\\xfehost";',
    "host-of-a-megabyte": '$config["SimpleBackgroundJobs"]["redis_host"] = str_repeat("h", 1 << 20);',
    "all-null": "$config = array_map(function () { return null; }, $config);",
}

# By name: PHP that runs as soon as config.php is read, where the operator has it read.
LOOKS = {
    "prints-block-text": r'fwrite(STDOUT, "settings\t{\"block\":\"x\"}\n"); exit(0);',
    "prints-block-of-numbers": (
        r'fwrite(STDOUT, "settings\t{\"block\":{\"redis_port\":1e999},\"wanted\":[]}\n"); exit(0);'
    ),
    "prints-wanted-text": r'fwrite(STDOUT, "settings\t{\"wanted\":\"x\"}\n"); exit(0);',
    "prints-redis-lists": (
        r'fwrite(STDOUT, "redis\t{\"waiting\":[[]],\"databases\":7}\nlegacy\t[1,2]\n"); exit(0);'
    ),
    "prints-legacy-of-texts": (
        r'fwrite(STDOUT, "legacy\t{\"installed\":true,\"waiting\":\"x\",\"running\":\"y\","'
        r' . "\"delayed\":{\"a\":1},\"held\":[]}\n"); exit(0);'
    ),
    "prints-huge-numbers": (
        r'fwrite(STDOUT, "redis\t{\"waiting\":" . str_repeat("9", 5000) . "}\n"); exit(0);'
    ),
    "prints-deep-json": r'fwrite(STDOUT, "settings\t" . str_repeat("{\"a\":", 99999)); exit(0);',
    "prints-json-lines-of-nonsense": (
        r'foreach (array("null", "[]", "{}", "1e999", "\"x\"", "{\"id\":1}", "{\"result\":[]}") as $l)'
        r' { fwrite(STDOUT, "$l\n"); } exit(0);'
    ),
    "prints-no-utf-8": r'fwrite(STDOUT, "settings\t\xff\xfe\nphp_version\t\xff\n");',
    "prints-other-subjects": r'fwrite(STDOUT, "\n@system\ninit\tx\n@misp\nversion\t[]\nweb_user\troot root\n");',
    "ends-with-0": "exit(0);",
    "kills-itself": "posix_kill(getmypid(), SIGKILL);",
    "throws": r'throw new Exception("\x00\xff" . str_repeat("x", 99999));',
}


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    host = lab["liar"]
    attacks.prepare(host, supervisor=False)
    return host


def judge(lab: Lab, host: LabHost, *options: str) -> None:
    try:
        seen = operate.dry(lab, *options)
    finally:
        attacks.give_back(host)
    assert seen.ended, seen.tail()
    assert not seen.crashed, seen.tail()
    assert "[honest] Ready" in seen.words or options, seen.tail()
    assert len(seen.words) < 20_000, f"{len(seen.words)} characters of the host's words"


ALONE = ("--limit", "liar")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_lies(lab: Lab, host: LabHost, name: str) -> None:
    host.exec(FILES[name], user=attacks.WEB)
    judge(lab, host, *(() if name == "version-infinite" else ALONE))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_configuration_that_lies(lab: Lab, host: LabHost, name: str) -> None:
    host.exec(["tee", "-a", CONFIG], user=attacks.WEB, input=f"\n{SETTINGS[name]}\n")
    judge(lab, host, *ALONE)


@pytest.mark.parametrize("name", LOOKS)
def test_php_that_answers_in_the_tools_place(lab: Lab, host: LabHost, name: str) -> None:
    attacks.poison(host, LOOKS[name])
    judge(lab, host, *(() if name == "prints-block-text" else ALONE))


# Answers of the wrong types to all that is asked, once MISP has the new backend.
AMID = r"""<?php if (PHP_SAPI === "cli" && posix_getppid() > 1) {
    fwrite(STDOUT, "settings\t{\"block\":\"x\",\"wanted\":[]}\nevidence\t{\"enabled\":[]}\nredis\t[]\n");
    exit(0);
} ?>"""
WAITS = (
    f"until grep -q \"'enabled' => true\" {CONFIG}; do sleep 0.02; done;"
    f" cat /srv/loot/lie {CONFIG} >{CONFIG}.lie; mv {CONFIG}.lie {CONFIG}"
)


def test_a_lie_amid_a_deploy_ends_that_host_alone(lab: Lab, host: LabHost) -> None:
    host.put(f"{attacks.LOOT}/lie", AMID)
    with attacks.running(host, attacks.WEB, "bash", "-c", WAITS):
        seen = operate.deploy(lab)
    assert seen.ended, seen.tail()
    assert not seen.crashed, seen.tail()
    assert seen.reports["honest"]["outcome"] == "done", seen.tail()
    assert seen.reports["liar"]["outcome"] != "interrupted", seen.tail()
