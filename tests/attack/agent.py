# SPDX-License-Identifier: BSD-2-Clause
"""Inside a bottle: runs what the harness asks for by JSON lines on standard input, as root with every
capability it was given, as root with Docker's default set, or as nobody."""
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
DOCKER = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)  # capabilities(7): CAP_CHOWN ...
PR_CAPBSET_DROP = 24
LOCK = threading.Lock()


def become(user):
    os.setsid()
    if user == "docker":
        for capability in range(64):
            if capability not in DOCKER:
                LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    elif user == "nobody" and os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def tell(answer):
    with LOCK:
        print(json.dumps(answer), flush=True)


def serve(order):
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


def main():
    for command in sys.argv[1:]:
        subprocess.run(command, shell=True, check=False, stdin=subprocess.DEVNULL,
                       stdout=sys.stderr)
    tell({"id": "ready", "pid": os.getpid()})
    for line in sys.stdin:
        threading.Thread(target=serve_safely, args=(json.loads(line),), daemon=True).start()


if __name__ == "__main__":
    main()
