"""A process that has imported what the hotrollback command needs, and becomes it when asked: to
start Python and import it all takes a second each time, and the tests run it a thousand times.

It is asked over a socket of packets: JSON, and the file descriptors 0, 1, 2 and one to answer on.
The answer is the process's number, and then its wait status.
"""

import atexit
import json
import os
import signal
import socket
import sys
import time
import traceback

# All that any of its commands imports.
import proxy.demo
import proxy.direct
import proxy.net.supervisor
import proxy.remote
import proxy.sql.analyse  # noqa: F401
from proxy.cli import main

MOST = 1 << 20  # bytes of a question


def serve(asked: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # attendants are nobody's to wait for
    while True:
        packet, given, _, _ = socket.recv_fds(asked, MOST, 4)
        if not packet:
            return
        if os.fork() == 0:
            asked.close()
            attend(json.loads(packet), given)
        for each in given:
            os.close(each)


def attend(question: dict, given: list[int]) -> None:
    """Answers for one process, until that has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *standard, answer = given
    number = os.fork()
    if number == 0:
        os.close(answer)
        become(question, standard)
    for each in standard:
        os.close(each)
    os.write(answer, b"%d\n" % number)
    _, status = os.waitpid(number, 0)
    os.write(answer, b"%d\n" % status)
    os._exit(0)


def become(question: dict, standard: list[int]) -> None:
    """As the installed script, in this process."""
    if question["session"]:
        os.setsid()
    for to, each in enumerate(standard):
        os.dup2(each, to)
        os.close(each)
    os.environ.clear()
    os.environ.update(question["env"])
    time.tzset()
    sys.argv = ["hotrollback", *question["args"]]
    status = 1
    try:
        status = main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001  nobody above would say it
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
