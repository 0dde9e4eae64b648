"""A MISP tree of the web user's, as small as can be, with PHP that really runs.

Its `cake.php` records $argv and does what MISP's `Admin setSetting` does: the value becomes a truth
value or a number where it reads like one, and config.php is written anew.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.host import web_user
from tasks.host.site import Site
from tasks.host.web_user import WebUser
from tests.unit.host import old_side

NAME = "www-data"
CAKE_PHP = r"""<?php
file_put_contents(__DIR__ . "/../tmp/argv", json_encode($argv) . "\n", FILE_APPEND);
if (isset($argc) && $argc !== count($argv) || $_SERVER["argv"] !== $argv) { exit(7); }
list($shell, $do, $name, $value) = array_pad(array_slice($argv, 3), 4, null);
if ("$shell $do" !== "Admin setSetting") { fwrite(STDERR, "no such command\n"); exit(1); }
if (in_array($name, json_decode(file_get_contents(__DIR__ . "/../tmp/refused"), true))) {
    echo "Setting: $value\n";
    fwrite(STDERR, "Error: $name does not take $value\n");
    exit(1);
}
$file = __DIR__ . "/../Config/config.php";
include $file;
list($block, $key) = explode(".", $name, 2);
$value = is_numeric($value) ? $value + 0 : $value;
$value = $value === "true" ? true : ($value === "false" ? false : $value);
$config[$block][$key] = $value;
file_put_contents($file, "<?php\n\$config = " . var_export($config, true) . ";\n");
echo "Setting $name changed to $value\n";
"""
CAKE = """#!/bin/sh
printf '%s %s %s\\n' "$PWD" "$(id -un)" "$*" >>"$(dirname "$0")/../tmp/cake"
cat "$(dirname "$0")/../tmp/answer"
exit "$(cat "$(dirname "$0")/../tmp/status")"
"""


FOREIGN_GROUP = 64_321  # no user of the machine is in it


class FakeMisp:
    """The tree, and what happened in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "MISP"
        self.app = self.root / "app"
        self.config_php = self.app / "Config/config.php"
        self.user: WebUser = web_user._web_user(pwd.getpwnam(NAME))
        self.gid = self.user.gid
        for name in ("Config", "Console", "tmp", "Vendor"):
            (self.app / name).mkdir(parents=True)
        (self.app / "Console/cake.php").write_text(CAKE_PHP)
        (self.app / "Console/cake").write_text(CAKE)
        (self.app / "Console/cake").chmod(0o755)
        (self.app / "tmp/status").write_text("0\n")
        (self.root / "VERSION.json").write_text('{"major":2, "minor":5, "hotfix":1}')
        self.refuse()
        self.answer({})
        self.configure()

    def configure(self, block: dict[str, Any] | None = None, **misp: Any) -> None:
        """Have config.php hold this, and the web user own all."""
        config = {"MISP": misp, "SimpleBackgroundJobs": block or {}}
        text = json.dumps(json.dumps(config)).replace("$", r"\$")
        self.config(f"$config = json_decode({text}, true);\n")

    def config(self, code: str) -> None:
        """Have config.php run this."""
        self.config_php.write_text(f"<?php\n{code}")
        self.own()

    def own(self) -> None:
        """Have the web user own all."""
        for path in [self.root, *self.root.rglob("*")]:
            os.chown(path, self.user.uid, self.gid, follow_symlinks=False)

    def share(self, gid: int) -> None:
        """Have a group own all as well: folders 2775 and files 664, as below a setgid folder."""
        self.gid = gid
        self.own()
        for path in [self.root, *self.root.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o2775 if path.is_dir() else path.stat().st_mode | 0o060)

    def refuse(self, *names: str) -> None:
        """Have MISP's CLI take no value for these settings."""
        (self.app / "tmp/refused").write_text(json.dumps(names))

    def answer(self, settings: Any, status: int = 0) -> None:
        """Have `cake Admin getSetting all` print this."""
        text = settings if isinstance(settings, str) else json.dumps(settings)
        (self.app / "tmp/answer").write_text(text)
        (self.app / "tmp/status").write_text(f"{status}\n")

    def argv(self) -> list[list[str]]:
        """The arguments of each run of cake.php, from the command's name on."""
        path = self.app / "tmp/argv"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line)[3:] for line in lines]

    def site(self, **given: Any) -> Site:
        """The site, with a state directory of the test's own."""
        values = {
            "misp_root": str(self.root),
            "state_dir": str(self.folder / "state"),
            "include_dir": str(self.folder / "conf.d"),
            "include_suffix": ".conf",
            "supervisor_conf": str(self.folder / "supervisord.conf"),
            "transport": "tcp",
            "rpc_user": "supervisor",
        }
        return old_side.site(**{**values, **given})


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder of root's that everybody may enter. pytest closes its own again and again."""
    folder = Path(tempfile.mkdtemp(prefix="misp-workers-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
