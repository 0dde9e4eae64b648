"""What Composer works on in app/: how much it is, and copies for a dry run.

As in tree.py, everything here runs as the web user, in a child that `gate.py` starts, and what a
function answers is the web user's word.
"""

import os
import stat
from typing import List

from tasks.host import mounts, tree


def copy(app: str) -> str:
    """Copy composer.json and composer.lock, as far as they are there, to a new folder; its path."""
    import tempfile

    folder = tempfile.mkdtemp(prefix=".misp-workers-", dir=app + "/tmp")
    for name in ("composer.json", "composer.lock"):
        data = tree.read(app + "/" + name)
        if data is not None:
            with open(folder + "/" + name, "wb") as file:
                file.write(data)
    return folder


def size(vendor: str) -> List[int]:
    """Files and folders below Vendor, their KiB in a tar and on disk; what is free there, as well.

    That is KiB and inodes.
    """
    count, packed, used = 0, 0, 0
    for folder, folders, files in os.walk(vendor):
        for name in folders + files:
            found = os.lstat(folder + "/" + name)
            count += 1
            packed += 1 + (found.st_size // 1024 if stat.S_ISREG(found.st_mode) else 0)
            used += found.st_blocks // 2
    return [count, packed, used, *mounts.free(os.path.dirname(vendor))]
