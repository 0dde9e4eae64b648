"""tasks/host/launchers.py on files as they are found in the field, and on files that are traps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tasks.host import gate, launchers, old_units, programs
from tasks.host.errors import RefusedError
from tests.unit.host import old_side
from tests.unit.host.old_side import NOBODY, WEB, Records

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root's files have to be root's")

SITE = old_side.site()
START = "su -s /bin/bash www-data -c 'bash /var/www/MISP/app/Console/worker/start.sh'"
DEBIAN = f"""#!/bin/sh -e
#
# rc.local
#
# By default this script does nothing.

{START}
for key in $(ls /etc/keys); do echo "$key" ; done
[ -e /sys/block ] && echo never > /sys/kernel/mm/transparent_hugepage/enabled
exit 0
"""
CRONTAB = f"""# m h  dom mon dow   command
MAILTO=root
*/5 * * * * /usr/bin/php /var/www/MISP/app/check.php # not worker/start.sh
@reboot www-data bash {old_side.ROOT}/app/Console/worker/start.sh > /dev/null 2>&1
"""


@pytest.fixture(autouse=True)
def records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Records:
    kept = Records()
    monkeypatch.setattr(launchers, "originals", kept)
    monkeypatch.setattr(old_units, "names", lambda *_: ["misp-workers.service"])
    places = ("rc.local", "rc.d/rc.local", "crontab", "cron.d/*", "spool/*", "cron.daily/*")
    monkeypatch.setattr(launchers, "PLACES", tuple(f"{tmp_path}/{one}" for one in places))
    old_side.gate_without_drop(monkeypatch)
    return kept


def unfit(path: Path) -> str | None:
    """Why the one launcher that there is cannot be taken out; `None`: there is none."""
    found = launchers.found(SITE, WEB)
    assert [one.path for one in found] in ([], [str(path)])
    return found[0].unfit if found else None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"#!/bin/sh -e\n{START}\nexit 0\n", ""),
        (DEBIAN, ""),
        (f"if true; then\n    {START}\nfi", ""),
        (f"# {START}\n", None),
        (f"true # {START}\n", None),
        (f"{START} \\\n    >/dev/null\n", "its command goes over several lines"),
        ("su www-data -c \\\n  /var/www/MISP/app/Console/worker/start.sh\n", "over several lines"),
        (f'sh -c "{START}\n"\n', "without that line it would be no valid script"),
        (f'sh -c "\n{START}\n"\n', ""),
        ("cd $MISP; app/Console/worker/start.sh\n", "does not name /var/www/MISP/"),
        (f"{START}\n/opt/other/app/Console/worker/start.sh\n", ""),
        (f"{START}; /opt/other/app/Console/worker/start.sh\n", "also starts those of /opt/other"),
        ("/opt/other/app/Console/worker/start.sh\n", None),
        ("/var/www/MISP-old/app/Console/worker/start.sh\n", None),
        ("MISP=/var/www/MISP\nbash ${MISP}/app/Console/worker/start.sh\n", ""),
        ("cd /var/www/MISP/app/Console/worker\n./start.sh &\n", ""),
        ("pgrep -f worker/start.sh || echo none\n", None),
        ("/var/www/MISP/app/Console/cake CakeResque.CakeResque start --interval 5\n", ""),
        ("/var/www/MISP/app/Console/cake CakeResque.CakeResque stop --all\n", None),
        ("/var/www/MISP/app/Console/worker/start_dynamic.sh\n", ""),
    ],
)
def test_what_starts_old_workers_is_found_and_why_it_is_left(
    tmp_path: Path, text: str, reason: str | None
) -> None:
    file = tmp_path / "rc.local"
    file.write_text(text)
    said = unfit(file)
    if not reason:
        assert said == reason
    else:
        assert said is not None
        assert reason in said


def test_the_folder_without_links_counts_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "MISP").symlink_to("data")
    site = old_side.site(misp_root=f"{tmp_path}/MISP")
    (tmp_path / "crontab").write_text(f"@reboot x {tmp_path}/data/app/Console/worker/start.sh\n")
    assert [one.unfit for one in launchers.found(site, WEB)] == [""]


@pytest.mark.parametrize("name", ["rc.local", "crontab", "cron.d/misp", "spool/www-data"])
@pytest.mark.parametrize("end", ["\n", "", "\r\n"])
def test_taken_out_and_put_back_a_file_is_the_same_with_owner_and_mode(
    tmp_path: Path, records: Records, name: str, end: str
) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    text = f"#!/bin/sh\nfirst \xe9\n\t{START}\n: last # {START}{end}".encode("latin-1")
    file.write_bytes(text)
    os.chown(file, WEB.uid, WEB.gid)
    file.chmod(0o640)
    (foreseen,) = launchers.to_take_out(SITE, WEB)
    launchers.take_out(SITE, WEB)
    assert foreseen == (str(file), text, file.read_bytes())
    mark = b"\n: #misp-workers-migration# \t" if name == "rc.local" else b"\n#misp-workers-migrat"
    assert mark in file.read_bytes()
    assert file.read_bytes().count(b"#misp-workers-migration# ") == 1
    assert launchers.found(SITE, WEB) == []
    assert records.launchers(SITE) == [str(file)]
    assert launchers.are_out(SITE, old_workers_live=True)
    once = file.read_bytes()
    launchers.take_out(SITE, WEB)
    assert file.read_bytes() == once
    (foreseen,) = launchers.to_put_back(SITE)
    assert foreseen == (str(file), once, text)
    launchers.put_back(SITE)
    assert file.read_bytes() == text
    found = file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (WEB.uid, WEB.gid, 0o640)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert not launchers.are_out(SITE, old_workers_live=True)


def test_what_others_change_meanwhile_stays(tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text(CRONTAB)
    launchers.take_out(SITE, WEB)
    file.write_text(file.read_text() + "@daily root /usr/bin/true\n")
    launchers.put_back(SITE)
    assert file.read_text() == CRONTAB + "@daily root /usr/bin/true\n"


def test_a_file_that_is_gone_comes_back_from_its_copy(tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text(CRONTAB)
    launchers.take_out(SITE, WEB)
    file.unlink()
    assert launchers.are_out(SITE, old_workers_live=True)
    assert [*launchers.to_put_back(SITE)] == [(str(file), None, None)]
    launchers.put_back(SITE)
    assert file.read_text() == CRONTAB


def test_the_rhel_familys_link_is_one_file_and_stays_a_link(
    tmp_path: Path, records: Records
) -> None:
    real = tmp_path / "rc.d/rc.local"
    real.parent.mkdir()
    real.write_text(DEBIAN)
    (tmp_path / "rc.local").symlink_to("rc.d/rc.local")
    launchers.take_out(SITE, WEB)
    assert records.launchers(SITE) == [str(real)]
    assert (tmp_path / "rc.local").is_symlink()
    assert f"\n: #misp-workers-migration# {START}\n" in real.read_text()


def test_one_that_cannot_be_taken_out_keeps_all_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "crontab").write_text(CRONTAB)
    (tmp_path / "rc.local").write_text("worker/start.sh\n")
    with pytest.raises(RefusedError, match=r"rc.local \(a line there does not name.*by hand"):
        launchers.take_out(SITE, WEB)
    assert (tmp_path / "crontab").read_text() == CRONTAB


def write_as(uid: int, path: Path, text: str = CRONTAB) -> Path:
    path.write_text(text)
    os.chown(path, uid, uid)
    return path


def test_a_link_into_the_web_users_tree_is_told_and_never_written(tmp_path: Path) -> None:
    tree = tmp_path / "MISP"
    tree.mkdir()
    os.chown(tree, WEB.uid, WEB.gid)
    target = write_as(WEB.uid, tree / "cron")
    (tmp_path / "cron.d").mkdir()
    link = tmp_path / "cron.d/misp"
    link.symlink_to(target)
    said = unfit(link)
    assert said is not None
    assert f"{tree} can be changed by others than root" in said
    with pytest.raises(RefusedError, match="can be changed by others"):
        launchers.take_out(SITE, WEB)
    assert target.read_text() == CRONTAB
    target.write_text("@daily www-data true\n")
    assert unfit(link) is None


def test_a_folder_of_somebody_else_is_told_and_never_written(tmp_path: Path) -> None:
    folder = tmp_path / "cron.d"
    folder.mkdir()
    (folder / "misp").write_text(CRONTAB)
    os.chown(folder, NOBODY, NOBODY)
    said = unfit(folder / "misp")
    assert said is not None
    assert "root leaves" in said


def test_crons_spool_is_roots_though_its_group_may_add_files(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    os.chown(spool, 0, 1234)
    spool.chmod(0o1730)
    assert unfit(write_as(WEB.uid, spool / "www-data")) == ""


def test_nobody_elses_crontab_stops_a_migration(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    write_as(NOBODY, spool / "bob", "@reboot worker/start.sh\n")
    assert launchers.found(SITE, WEB) == []
    (spool / "bob").write_text(CRONTAB)  # one that a person's sudo runs, say
    assert unfit(spool / "bob") == ""


def test_traps_are_not_opened_or_not_read_whole(tmp_path: Path) -> None:
    folder = tmp_path / "cron.d"
    folder.mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "null").symlink_to("/dev/zero")
    (folder / "gone").symlink_to("/nowhere/at/all")
    (folder / "folder").mkdir()
    assert launchers.found(SITE, WEB) == []
    huge = folder / "huge"
    huge.touch()
    os.truncate(huge, 1 << 30)
    said = unfit(huge)
    assert said is not None
    assert "is bigger than 1024 KiB" in said
    os.chown(huge, NOBODY, NOBODY)
    assert unfit(huge) is None


def test_workers_that_nothing_started_are_out_once_they_have_gone(records: Records) -> None:
    records.add_launcher(SITE, launchers.RAN)
    assert launchers.are_out(SITE, old_workers_live=False)
    assert not launchers.are_out(SITE, old_workers_live=True)


# --- lines that start them by something else ----------------------------------------------------


def wrapper(path: Path, text: str = f"#!/bin/bash\nsleep 1\n{START}\n", uid: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    os.chown(path, uid, uid)
    return path


def test_a_script_that_cron_runs_is_followed_and_the_line_is_taken_out(tmp_path: Path) -> None:
    script = wrapper(tmp_path / "bin/misp-start")
    before = script.read_bytes()
    text = f"@reboot root {script}\n*/5 * * * * root pgrep -f bin/resque || bash {script}\n"
    file = tmp_path / "crontab"
    file.write_text(f"0 1 * * * root {tmp_path}/bin/other\n{text}")
    assert [(one.unfit, one.via) for one in launchers.found(SITE, WEB)] == [("", str(script))]
    launchers.take_out(SITE, WEB)
    mark = launchers.MARK.decode()
    assert [line for line in file.read_text().splitlines() if not line.startswith(mark)] == [
        f"0 1 * * * root {tmp_path}/bin/other"
    ]
    assert script.read_bytes() == before
    launchers.put_back(SITE)
    assert file.read_text().endswith(text)


@pytest.mark.parametrize("folder", ["gr\u00f6\u00dfe", "my 'odd' scripts"])
def test_files_and_scripts_of_odd_names_are_found_and_come_back(
    tmp_path: Path, folder: str
) -> None:
    script = wrapper(tmp_path / folder / "misp-start")
    file = Path(os.fsdecode(f"{tmp_path}/cron.d/a `b`\n".encode() + b"\xff"))
    file.parent.mkdir()
    text = f'@reboot root "{script}" # '.encode() + b"\xff\n0 1 * * * root /bin/x\n"
    file.write_bytes(text)
    (found,) = launchers.found(SITE, WEB)
    assert (found.path, found.unfit, found.via) == (str(file), "", str(script))
    launchers.take_out(SITE, WEB)
    assert file.read_bytes() == launchers.MARK + text
    launchers.put_back(SITE)
    assert file.read_bytes() == text


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ("@reboot root systemctl restart misp-workers", True),
        ("0 3 * * * root /usr/sbin/service misp-workers restart >/dev/null", True),
        (
            "0 3 * * * root systemctl is-active -q misp-workers || systemctl start misp-workers",
            True,
        ),
        ("0 3 * * * root systemctl stop misp-workers.service", False),
        ("0 3 * * * root systemctl try-restart misp-workers", False),
        ("0 3 * * * root systemctl restart misp-workers-exporter", False),
        ("0 3 * * * root supervisorctl restart misp-workers:*", False),
        ("0 3 * * * root systemctl restart apache2 >>/var/log/misp-workers/x.log", False),
    ],
)
def test_a_line_that_starts_the_old_workers_unit_is_taken_out(
    tmp_path: Path, line: str, is_found: bool
) -> None:
    (tmp_path / "crontab").write_text(f"{line}\n")
    found = [(one.unfit, one.via) for one in launchers.found(SITE, WEB)]
    assert found == ([("", "misp-workers")] if is_found else [])


def test_a_script_that_starts_their_unit_is_one_hop_as_well(tmp_path: Path) -> None:
    script = wrapper(tmp_path / "bin/restart", "#!/bin/sh\nsystemctl restart misp-workers\n")
    (tmp_path / "crontab").write_text(f"@daily root {script}\n")
    assert [one.via for one in launchers.found(SITE, WEB)] == [str(script)]


@pytest.mark.parametrize(("uid", "who"), [(0, "root"), (NOBODY, "root"), (WEB.uid, "web user")])
def test_the_web_user_is_given_no_script_but_his_own(
    monkeypatch: pytest.MonkeyPatch, uid: int, who: str
) -> None:
    """He could read it in the memory of a bash of his."""
    given: list[str] = []

    def of(name: str) -> Any:
        def run(*_: Any, **__: Any) -> programs.Finished:
            given.append(name)
            return programs.Finished(0, b"", b"")

        return run

    monkeypatch.setattr(gate, "run", of("web user"))
    monkeypatch.setattr(programs, "run", of("root"))
    assert launchers._is_sound(WEB, uid, b"DB_SECRET=x\n")
    assert given == [who]


def test_root_parses_a_script_and_runs_nothing_of_it(tmp_path: Path) -> None:
    script = f"touch {tmp_path}/ran\nset +n\ntouch {tmp_path}/ran\n"
    assert launchers._is_sound(WEB, 0, script.encode() + b"# much\n" * 50_000)
    assert not launchers._is_sound(WEB, 0, b"if true; then\n")
    assert not (tmp_path / "ran").exists()


def test_a_script_of_crons_own_folders_is_a_script(tmp_path: Path) -> None:
    text = f"#!/bin/sh\nif ! pgrep -f bin/resque >/dev/null; then\n    {START}\nfi\n"
    file = wrapper(tmp_path / "cron.daily/misp", text)
    assert unfit(file) == ""
    launchers.take_out(SITE, WEB)
    assert f"then\n: #misp-workers-migration#     {START}\nfi" in file.read_text()
    launchers.put_back(SITE)
    assert file.read_text() == text


@pytest.mark.parametrize("uid", [WEB.uid, NOBODY])
def test_a_script_of_others_changes_no_file_of_roots(tmp_path: Path, uid: int) -> None:
    script = wrapper(tmp_path / "bin/misp", uid=uid)
    file = tmp_path / "crontab"
    file.write_text(f"@reboot root {script}\n")
    said = unfit(file)
    assert said is not None
    assert "can be changed by others than root" in said
    with pytest.raises(RefusedError, match="can be changed by others"):
        launchers.take_out(SITE, WEB)
    assert file.read_text() == f"@reboot root {script}\n"


def test_a_script_of_the_web_users_counts_in_a_crontab_of_his(tmp_path: Path) -> None:
    (tmp_path / "MISP").mkdir()
    os.chown(tmp_path / "MISP", WEB.uid, WEB.gid)
    script = wrapper(tmp_path / "MISP/start", uid=WEB.uid)
    (tmp_path / "spool").mkdir()
    file = write_as(WEB.uid, tmp_path / "spool/www-data", f"@reboot {script}\n")
    assert unfit(file) == ""


def test_what_a_line_names_is_not_opened_if_it_is_no_script(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "binary").write_bytes(f"\0{START}".encode())
    (tmp_path / "crontab").write_text(
        f"@daily root {tmp_path}/fifo {tmp_path}/binary {tmp_path} /dev/zero /proc/kmsg\n"
    )
    assert launchers.found(SITE, WEB) == []


def test_a_path_by_a_link_to_this_misp_counts(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    site = old_side.site(misp_root=f"{tmp_path}/data")
    (tmp_path / "crontab").write_text(f"@reboot x {tmp_path}/link/app/Console/worker/start.sh\n")
    assert [one.unfit for one in launchers.found(site, WEB)] == [""]
