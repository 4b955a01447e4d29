# SPDX-License-Identifier: BSD-2-Clause
"""Inside a bottle: runs what the harness asks for by JSON lines on standard input, as root with every
capability it was given, as root with Docker's default set, or as nobody."""
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
import types

LIBC = ctypes.CDLL(None, use_errno=True)
DOCKER = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)  # capabilities(7): CAP_CHOWN ...
PR_SET_DUMPABLE, PR_CAPBSET_DROP = 4, 24
CAPABILITY_VERSION = 0x20080522
LOCK = threading.Lock()


def become(user):
    os.setsid()
    if user == "docker":
        for capability in range(64):
            if capability not in DOCKER:
                LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        word = sum(1 << x for x in DOCKER)
        LIBC.capset((ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0),
                    (ctypes.c_uint32 * 6)(word, word, 0, 0, 0, 0))
    elif user == "nobody" and os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # as after execve(2)


def tell(answer):
    with LOCK:
        print(json.dumps(answer), flush=True)


def preload():
    """The attacks in Python, to be run in a fork: to start Python takes longer than most of them."""
    import fcntl, socket, ssl, struct, time  # noqa: F401,E401
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attacks.py")
    with open(path, encoding="utf-8") as file:
        return path, compile(file.read(), path, "exec")


def play(order, output):
    """In the child: as `python3 attacks.py NAME` would."""
    status = 1
    try:
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, 256)
        # new ones: another thread may have held the old ones' locks
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        os.chdir("/")
        become(order["user"])
        os.environ.update(order["env"])
        sys.argv = ["attacks.py", order["argv"][-1]]
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(CODE, module.__dict__)  # pylint: disable=exec-used
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # the last line is the reason that the table shows
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def read_until(pipe, seconds):
    """What is written there, and whether it came to its end in time."""
    parts, end = [], time.monotonic() + seconds
    while select.select([pipe], [], [], max(0, end - time.monotonic()))[0]:
        part = os.read(pipe, 65536)
        if not part:
            return b"".join(parts), True
        parts.append(part)
    return b"".join(parts), False


def serve_in_fork(order):
    pipe, output = os.pipe()
    pid = os.fork()
    if pid == 0:
        play(order, output)
    os.close(output)
    out, ended = read_until(pipe, order["timeout"])
    if not ended:
        os.killpg(pid, signal.SIGKILL)
        out += b"\n(timed out)"
    os.close(pipe)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    tell({"id": order["id"], "status": status, "output": out.decode("utf-8", "replace")[-2000:]})


def serve(order):
    if order["argv"][-2:-1] == [PATH]:
        return serve_in_fork(order)
    process = subprocess.Popen(order["argv"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, env={**os.environ, **order["env"]},
                               preexec_fn=lambda: become(order["user"]), cwd="/")
    try:
        out, _ = process.communicate(timeout=order["timeout"])
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        out += b"\n(timed out)"
    tell({"id": order["id"], "status": process.returncode,
          "output": out.decode("utf-8", "replace")[-2000:]})


def serve_safely(order):
    try:
        serve(order)
    except Exception as error:  # whatever it is belongs into the answer
        tell({"id": order["id"], "status": -1, "output": f"agent: {error}"})


PATH, CODE = preload() if __name__ == "__main__" else (None, None)


def main():
    for command in sys.argv[1:]:
        subprocess.run(command, shell=True, check=False, stdin=subprocess.DEVNULL,
                       stdout=sys.stderr)
    tell({"id": "ready", "pid": os.getpid()})
    for line in sys.stdin:
        threading.Thread(target=serve_safely, args=(json.loads(line),), daemon=True).start()


if __name__ == "__main__":
    main()
