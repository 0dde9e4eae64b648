"""Another account's program that holds a port. Goes to the host as it is.

    listen.py PORT FILE [WAITS-FOR]    writes down what is sent to it, passwords in plain

With WAITS-FOR it begins when that path is there, and ends with the first password that it got.
"""

import base64
import os
import re
import socket
import sys
import time

ANSWER = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def serve(port: int, file: str, once: bool) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(16)
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(2)
                try:
                    text = connection.recv(65536)
                    connection.sendall(ANSWER)
                except OSError:
                    continue
            words = re.findall(rb"Basic ([A-Za-z0-9+/=]+)", text)
            with open(file, "ab") as out:
                out.write(text + b"".join(base64.b64decode(word) + b"\n" for word in words))
            if once and words:
                return


def main(port: str, file: str, awaited: str = "") -> None:
    while awaited and not os.path.exists(awaited):
        time.sleep(0.005)
    while True:
        try:
            serve(int(port), file, bool(awaited))
            return
        except OSError:
            time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
