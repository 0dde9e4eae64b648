"""The lab itself: hosts are reached as in production, and are what they say they are."""

from __future__ import annotations

import json
import re
import subprocess
import time

import pytest

from lab import labs, misp, verify
from lab.engine import Engine
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import BOTH_FAMILIES, OLD_WORKER_INTERVAL, QUEUES
from lab.waiting import wait_for
from tests.e2e import observe

SPECS = BOTH_FAMILIES
NAMES = [spec.name for spec in SPECS]

BIG, QUIT = 5001, 6001  # numbers of jobs
NO_PID = 1 << 22  # one more than the kernel gives
UUID_4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
UUID = "01234567-89ab-4cde-8f01-23456789abcd"


@pytest.fixture(params=NAMES)
def host(request: pytest.FixtureRequest, lab: Lab) -> LabHost:
    return lab[request.param]


def test_ssh_with_sudo_works_and_knows_the_host(host: LabHost) -> None:
    command = f"{host.ssh_command} -o BatchMode=yes -o StrictHostKeyChecking=yes sudo id -u"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)  # noqa: S602
    assert (done.stdout.strip(), done.returncode) == ("0", 0), done.stderr


def test_supervisor_is_not_there_before_the_deploy(host: LabHost) -> None:
    assert host.exec("command -v supervisord", check=False).exit_code != 0


def test_root_sees_into_processes_of_others_as_a_real_root_does(host: LabHost) -> None:
    host.exec(["runuser", "-u", host.spec.web_user, "--", "true"])
    host.exec("readlink /proc/$(pgrep -u " + host.spec.web_user + " php | head -1)/cwd")


def test_the_old_workers_do_the_jobs_that_waited(host: LabHost) -> None:
    numbers = range(1, 1 + host.spec.waiting_jobs * 5)
    check = verify.check_jobs(host, numbers, "jobs queued at the start")
    assert check.ok, check.seen
    assert {entry["backend"] for entry in misp.ledger(host)} == {"resque"}


def test_the_old_backend_has_big_input_in_a_file_which_its_job_deletes(host: LabHost) -> None:
    jobs = misp.enqueue_data(host, 1, first=BIG)
    check = verify.check_jobs(host, [job.number for job in jobs], "jobs with data")
    assert check.ok, check.seen
    done = {e["number"]: e for e in misp.ledger(host) if e.get("number", 0) >= BIG}
    assert {number: e["digest"] for number, e in done.items()} == {j.number: j.digest for j in jobs}
    assert [e["args"][0] for e in done.values()] == list(misp.DATA_COMMANDS)
    files = [e["args"][-1] for e in done.values()]
    assert all(file.startswith(f"{host.spec.misp_root}/app/tmp/cache/ingest/") for file in files)
    assert host.exec(["ls", *files], check=False).stdout == ""


def test_the_old_backend_cannot_read_what_the_new_one_has_in_redis(host: LabHost) -> None:
    job = {"class": "EventShell", "args": [["processfreetext", f"redis:{UUID}"]], "id": "a" * 32}
    misp.ask_redis(host, f"""echo $redis->rPush("resque:queue:prio", '{json.dumps(job)}');""")
    [entry] = wait_for(lambda: [e for e in misp.ledger(host) if e["id"] == "a" * 32], 20, "the job")
    assert (entry["exit"], entry["error"]) == (1, "Call to a member function get() on null")


_NEW_BACKEND = r"""
require $argv[1] . "/app/Lib/Stub/bootstrap.php";
function refusal($tool, $argument) {
    try {
        return $tool->fetchDataFile($argument);
    } catch (Throwable $error) {
        return $error->getMessage();
    }
}
$tool = new BackgroundJobsTool(array("enabled" => true, "redis_host" => "127.0.0.1",
    "redis_port" => 6379, "redis_database" => 1, "redis_password" => "", "redis_namespace" => "b"));
$off = new BackgroundJobsTool(array("enabled" => false));
$data = array("a" => 'ö/"', "b" => array(1, null));
$redis = new Redis();
$redis->connect("127.0.0.1");
$redis->select(1);
$argument = $tool->enqueueDataFile($data);
$key = str_replace("redis:", "b:data_content:", $argument);
$seen = array("argument" => $argument, "text" => $redis->get($key), "ttl" => $redis->ttl($key));
$file = $off->enqueueDataFile($data);
echo json_encode($seen + array(
    "without a connection" => refusal($off, $argument),
    "read" => $tool->fetchDataFile($argument) === $data,
    "left" => $redis->exists($key),
    "again" => refusal($tool, $argument),
    "file" => $file,
    "mode" => decoct(fileperms($file) & 0777),
    "by name" => $tool->fetchDataFile(basename($file)) === $data,
    "file again" => refusal($tool, $file),
));
"""


def test_the_new_backend_has_big_input_in_redis_for_a_day_and_reads_it_once(lab: Lab) -> None:
    host = lab["misp-debian"]
    php = ["php", "-r", _NEW_BACKEND, "--", host.spec.misp_root]
    seen = json.loads(host.exec(php, user=host.spec.web_user).stdout)
    file, uuid = seen.pop("file"), seen["argument"].removeprefix("redis:")
    assert re.fullmatch(UUID_4, uuid)
    assert file.startswith(f"{host.spec.misp_root}/app/tmp/cache/ingest/")
    assert seen == {
        "argument": f"redis:{uuid}",
        "text": r'{"a":"\u00f6\/\"","b":[1,null]}',
        "ttl": 86400,
        "without a connection": "Call to a member function get() on null",
        "read": True,
        "left": 0,
        "again": f"Redis data key with UUID {uuid} doesn't exists.",
        "mode": "600",
        "by name": True,
        "file again": f"An error has occurred while attempt to read file `{file}`: "
        "file doesn't exists.",
    }


def worker_of(host: LabHost, queue: str) -> str:
    """The PID of an old worker, or nothing."""
    return host.exec(
        f"grep -lsz '^QUEUE={queue}$' /proc/[0-9]*/environ | cut -d/ -f3"
    ).stdout.strip()


def test_the_old_workers_run_in_the_library_of_their_version(host: LabHost) -> None:
    vendor = "iglocska" if host.spec.profile == "2.5.1" else "kamisama"
    folder = host.exec(["readlink", f"/proc/{worker_of(host, 'prio')}/cwd"]).stdout.strip()
    assert folder == f"{host.spec.misp_root}/app/Vendor/{vendor}/php-resque-ex"


CLONED = {"": "d 2775", "/app/Config": "d 2775", "/app/composer.json": "f 664"}
CLONED |= {"/app/Console/cake": "f 775", "/app/Vendor/composer": "d 2775", "/app/tmp": "d 2775"}
CLONED |= {"/.git": "d 2775", "/.git/HEAD": "f 664", "/.git/index": "f 664"}
BY_GUIDE = {path: f"{mode[0]} 750" for path, mode in CLONED.items()} | {"/app/tmp": "d 2770"}


def test_the_tree_is_a_clone_with_the_modes_that_real_ones_have(host: LabHost) -> None:
    seen, root, user = observe.tree(host), host.spec.misp_root, host.spec.web_user
    expected = CLONED if host.spec.profile == "2.5.1" else BY_GUIDE
    assert {path: seen[root + path][0] for path in expected} == expected
    assert {seen[root + path][1] for path in expected} == {f"{user}:{user}"}
    assert seen[f"{root}/app/Config/config.php"][0] == "f 660"
    assert any(path.startswith(f"{root}/.git/objects/") for path in seen)


def old_workers(host: LabHost) -> dict[str, str]:
    """What the old workers' hash `workerLogger` says, by worker."""
    found: dict[str, str] = misp.ask_redis(
        host, 'echo json_encode((object)$redis->hGetAll("resque:workerLogger"));'
    )
    return found


def test_the_old_workers_say_in_json_where_they_log(lab: Lab) -> None:
    host = lab["misp-debian"]
    loggers = [json.loads(text) for text in old_workers(host).values()]
    log = f"{host.spec.misp_root}/app/tmp/logs/resque.log"
    assert loggers == [["RotatingFile", log]] * len(QUEUES)


REJECTED = """Error: Setting change rejected.
The setting change was rejected. MISP considers the requested setting value as invalid and would \
lead to the following error:

"Value not set."

If you still want to force this change, please supply the --force argument.
"""


@pytest.mark.parametrize(
    ("command", "exit_code", "says"),
    [
        ("NoSuchThing", 244, "Error: Shell class NoSuchThingShell could not be found."),
        ("Admin setSetting SimpleBackgroundJobs.redis_host ''", 1, REJECTED),
        ("Worker showQueues", 1, " on null"),
    ],
)
def test_cake_refuses_as_misps_does(host: LabHost, command: str, exit_code: int, says: str) -> None:
    cake = f"{host.spec.misp_root}/app/Console/cake {command}"
    done = host.exec(cake, user=host.spec.web_user, check=False)
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert says in done.stderr


def test_an_old_worker_that_is_told_to_quit_looks_once_more_and_sleeps_once_more(lab: Lab) -> None:
    host = lab["misp-debian"]
    misp.configure_stub(host, old_worker_interval=OLD_WORKER_INTERVAL)
    cake = f"{host.spec.misp_root}/app/Console/cake CakeResque.CakeResque start --interval 5"
    for queue in ("idle", "busy"):
        host.exec(f"{cake} --queue {queue}", user=host.spec.web_user)
    misp.configure_stub(host, old_worker_interval=host.spec.old_worker_interval)
    misp.enqueue(host, 2, queues=["busy"], first=QUIT)
    for queue in ("busy", "idle"):
        host.exec(["kill", "-QUIT", worker_of(host, queue)])
    began = time.monotonic()
    wait_for(lambda: not worker_of(host, "busy"), 3, "the worker with jobs to leave")
    assert [e["number"] for e in misp.ledger(host) if e.get("number", 0) >= QUIT] == [QUIT]
    wait_for(lambda: not worker_of(host, "idle"), 10, "the worker without jobs to leave")
    assert time.monotonic() - began > 4


def test_misp_answers_over_https(host: LabHost) -> None:
    version = verify.get_json(host, "/servers/getVersion")
    assert version["version"] == host.spec.profile


def test_input_arrives_and_streams_are_kept_apart(host: LabHost) -> None:
    result = host.exec("cat; echo err >&2; exit 3", input="größer\n", user="deploy", check=False)
    assert (result.stdout, result.stderr, result.exit_code) == ("größer\n", "err\n", 3)


def test_a_command_that_hangs_is_killed(host: LabHost) -> None:
    assert host.exec(["sleep", "60"], check=False, timeout=1).exit_code == 124


def test_files_are_put_with_owner_and_mode_also_on_a_tmpfs(host: LabHost) -> None:
    host.put("/run/lab-test", "text\n", mode=0o640, owner="root:deploy")
    stat = host.exec(["stat", "-c", "%U:%G %a", "/run/lab-test"]).stdout.strip()
    assert (stat, host.read("/run/lab-test")) == ("root:deploy 640", "text\n")


def test_supervisor_comes_from_epel_only(lab: Lab) -> None:
    host = lab["misp-el"]
    assert host.exec("dnf install -y supervisor", check=False).exit_code != 0
    host.exec("dnf install -y epel-release && dnf install -y supervisor", timeout=120)
    assert "/etc/supervisord.d\n" in host.exec(["rpm", "-ql", "supervisor"]).stdout
    assert host.exec("systemctl is-enabled supervisord", check=False).stdout == "disabled\n"


def test_a_selinux_module_can_be_built(lab: Lab) -> None:
    host = lab["misp-el"]
    policy = "policy_module(labtest, 1.0)\nrequire { type httpd_t; }\n"
    host.exec("mkdir -p /root/policy")
    host.put("/root/policy/labtest.te", policy)
    host.exec("cd /root/policy && make -f /usr/share/selinux/devel/Makefile labtest.pp")
    assert host.exec(["getenforce"]).stdout == "Disabled\n"


def test_a_host_comes_back_after_a_restart(host: LabHost) -> None:
    host.restart()
    test_ssh_with_sudo_works_and_knows_the_host(host)
    misp.check_services(host)
    assert host.exec("systemctl is-active misp-workers").stdout == "active\n"


def test_a_paused_host_does_not_answer_and_then_does(host: LabHost) -> None:
    with host.paused(), pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([*host.ssh_command.split(), "true"], timeout=2, check=False)
    host.wait_until_ready()


def test_running_labs_are_listed_and_not_swept(lab: Lab, engine: Engine) -> None:
    labs.sweep(engine)
    assert set(labs.known(engine)[lab.id].containers) >= {f"{lab.id}-{name}" for name in NAMES}


def test_a_restart_of_the_old_workers_forgets_the_dead_ones_first(lab: Lab) -> None:
    host = lab["misp-debian"]
    entry = f'"resque:ResqueWorker", "{NO_PID}"'
    misp.ask_redis(host, f'echo $redis->hSet({entry}, serialize(array("queue" => "prio")));')
    before = set(old_workers(host))
    cake = f"{host.spec.misp_root}/app/Console/cake Admin restartWorkers"
    assert host.exec(cake, user=host.spec.web_user).stdout == "\nWorkers restarted.\n"
    assert misp.ask_redis(host, f"echo json_encode($redis->hExists({entry}));") is False
    wait_for(lambda: not before & set(old_workers(host)), 60, "the old workers to leave")
    wait_for(lambda: len(old_workers(host)) >= len(QUEUES), 60, "the new ones")
