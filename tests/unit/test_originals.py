"""What the host remembers of a file that others change too, run by the shell itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tasks.scripts import REMOTE

PARTS = "".join(
    (REMOTE / f"{part}.sh").read_text(encoding="utf-8") for part in ("lib", "originals")
)
# Root's work, which a test has not to be root for.
OURSELVES = 'chown() { :; }\nmake_state_dir() { mkdir -p "$state_dir"; }\n'
CHANGE = 'about_to_change "$file"; echo ours >>"$file"; left_by_us "$file"'
CUT_OFF = 'about_to_change "$file"; echo half >>"$file"'
NOT_BEGUN = 'keep_original "$file"'
FOREIGN = 'echo theirs >>"$file"'


def after(tmp_path: Path, *runs: str) -> str:
    """Have RUNS, each a shell of its own, at a file; gives what a restoration leaves there."""
    file = tmp_path / "file"
    file.write_text("original\n")
    known = f"state_dir={tmp_path}/state web_user=nobody misp_root={tmp_path} file={file}\n"
    for commands in (*runs, 'if is_as_we_left_it "$file"; then restore_original "$file"; fi'):
        script = f"{known}{PARTS}{OURSELVES}{commands}\n"
        done = subprocess.run(
            ["sh", "-s"], input=script, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    return file.read_text()


@pytest.mark.parametrize(
    "runs",
    [
        (CHANGE,),
        (CHANGE, CHANGE),
        (CUT_OFF,),
        (CUT_OFF, CHANGE),
        (CHANGE, CUT_OFF, CHANGE),
        (NOT_BEGUN, CHANGE),
        (NOT_BEGUN, CUT_OFF, CUT_OFF),
    ],
)
def test_what_is_ours_alone_is_put_back(tmp_path: Path, runs: tuple[str, ...]) -> None:
    assert after(tmp_path, *runs) == "original\n"


@pytest.mark.parametrize(
    "runs", [(CHANGE, FOREIGN), (CHANGE, FOREIGN, CHANGE), (NOT_BEGUN, FOREIGN, CHANGE)]
)
def test_what_others_changed_since_is_left_alone(tmp_path: Path, runs: tuple[str, ...]) -> None:
    assert "theirs\n" in after(tmp_path, *runs)


def test_a_directory_is_whole_at_every_moment_while_it_is_put_back(tmp_path: Path) -> None:
    """Old workers load classes from app/Vendor while rollback.py puts it back."""
    directory = tmp_path / "Vendor"
    directory.mkdir()
    (directory / "autoload.php").write_text("original")
    known = f"state_dir={tmp_path}/state web_user=nobody misp_root={tmp_path} d={directory}\n"
    script = f"""{known}{PARTS}{OURSELVES}
        keep_original "$d"
        echo changed >"$d/autoload.php"
        while [ ! -e "$d.done" ]; do [ -e "$d/autoload.php" ] || echo missing; done &
        for again in 1 2 3 4 5 6 7 8 9 10; do restore_original "$d"; done
        touch "$d.done"
        wait
        cat "$d/autoload.php"
        """
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "original", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Vendor", "Vendor.done", "state"]
