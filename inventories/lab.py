"""The hosts of a running lab, as the lab wrote them down (see lab/)."""

import json
import os
from pathlib import Path

_default = Path(__file__).resolve().parent.parent / ".lab" / "inventory.json"
_path = Path(os.environ.get("MISP_LAB_INVENTORY", _default))
if not _path.exists():
    raise SystemExit(f"{_path} is missing: no lab runs, start one by ./noxw -s lab -- up")

misp = [(_host["name"], _host["data"]) for _host in json.loads(_path.read_text())["hosts"]]
