# SPDX-License-Identifier: BSD-2-Clause
"""The origins of the world: an HTTP/1.1 server that notes every request as it came, a TCP echo, and
a git repository. Written on sockets, since what arrives byte by byte is what the tests judge.

One JSON line per request goes to DIRECTORY/origin.log: what a test looks at from outside. What goes
back into the sandbox holds hashes of credentials only."""
import hashlib
import json
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time

DIRECTORY = sys.argv[1]
ADDRESSES = [f"203.0.113.{n}" for n in (10, 11, 12, 13, 14, 15, 16, 18)]
ADDRESSES += ["2001:db8:e2e::17", "2001:db8:e2e::18"]
SECRET_HEADERS = {"authorization", "x-api-key", "private-token"}
LOG = open(os.path.join(DIRECTORY, "origin.log"), "a", buffering=1, encoding="utf-8",
           opener=lambda path, flags: os.open(path, flags, 0o600))
# Root of a sandbox owns what root owns: the log is somebody else's.
os.fchown(LOG.fileno(), 65533, 65533)
LOCK = threading.Lock()
GATHERING, GATHERED = threading.Condition(), {}  # by path


class Request:
    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, self.version = lines[0].split(" ", 2)
        self.headers = [tuple(line.split(": ", 1)) if ": " in line else (line.rstrip(":"), "")
                        for line in lines[1:] if line]
        self.trailers, self.length, self.digest = [], 0, hashlib.sha256()

    def get(self, name):
        return next((v for k, v in self.headers if k.lower() == name), None)


class Origin(socketserver.BaseRequestHandler):
    def setup(self):
        self.sni, self.tls = None, self.server.context is not None
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            self.request = self.server.context.wrap_socket(self.request, server_side=True,
                                                           suppress_ragged_eofs=True)
            self.sni = getattr(self.request, "sni", None)
        self.file = self.request.makefile("rb", 1 << 18)

    def handle(self):
        while self.one_request():
            pass

    def finish(self):
        try:
            if self.tls:
                self.request.unwrap()
        except (OSError, ValueError):
            pass
        self.request.close()

    def one_request(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.file.readline(65536)
            if not line:
                return False
            head += line
        request = Request(head)
        if (request.get("expect") or "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.path, _, self.query = request.target.partition("?")
        if self.path.startswith("/git/"):
            return self.git(request)
        self.read_body(request)
        self.note(request, head)
        return self.route(request) and (request.get("connection") or "").lower() != "close"

    def read_body(self, request):
        if "chunked" in (request.get("transfer-encoding") or "").lower():
            while True:
                size = int(self.file.readline(1024).split(b";")[0], 16)
                if size == 0:
                    break
                self.take(request, size)
                self.file.readline(3)
            while (line := self.file.readline(8192)) not in (b"\r\n", b""):
                request.trailers.append(line.decode("latin-1").strip())
        else:
            self.take(request, int(request.get("content-length") or 0))

    def take(self, request, size):
        while size > 0:
            data = self.file.read(min(size, 1 << 18))
            if not data:
                raise ConnectionError("body cut")
            if request.length < 1 << 25:
                request.digest.update(data)
            request.length += len(data)
            size -= len(data)

    def note(self, request, head):
        with LOCK:
            LOG.write(json.dumps({
                "time": time.time(), "address": self.server.server_address[0], "tls": self.tls,
                "sni": self.sni,
                "method": request.method, "target": request.target, "headers": request.headers,
                "head": head.decode("latin-1"), "length": request.length,
                "trailers": request.trailers, "peer": self.client_address[1]}) + "\n")

    def send(self, data):
        self.request.sendall(data)

    def respond(self, status, body=b"", headers=(), head=False):
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode() + (b"" if head else body))
        return True

    def route(self, request):
        parts = self.path.strip("/").split("/")
        page = getattr(self, "page_" + parts[0].replace("-", "_"), None)
        return page(request, parts[1:]) if page else self.page_echo(request, parts)

    def page_echo(self, request, _parts):
        shown = [(k, "sha256:" + hashlib.sha256(v.encode()).hexdigest()
                  if k.lower() in SECRET_HEADERS else v) for k, v in request.headers]
        body = json.dumps({"method": request.method, "target": request.target, "headers": shown,
                           "length": request.length, "sha256": request.digest.hexdigest(),
                           "trailers": request.trailers, "peer": self.client_address[1],
                           "address": self.server.server_address[0]}).encode() + b"\n"
        return self.respond("200 OK", body, ["Content-Type: application/json"],
                            head=request.method == "HEAD")

    def page_bytes(self, request, parts):
        size, block = int(parts[0]), b"0123456789abcdef" * 4096
        self.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        while size > 0 and request.method != "HEAD":
            self.send(block[:min(size, len(block))])
            size -= len(block)
        return True

    def page_chunked(self, _request, parts):
        self.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
        for number in range(int(parts[0])):
            data = f"chunk {number}\n".encode() * (1 + number % 7)
            self.send(f"{len(data):x};note=1\r\n".encode() + data + b"\r\n")
        self.send(b"0\r\nX-Sum: done\r\n\r\n")
        return True

    def page_sse(self, _request, parts):
        self.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(int(parts[0])):
            data = f"data: {time.monotonic_ns()}\n\n".encode()
            self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            time.sleep(0.02)
        self.send(b"0\r\n\r\n")
        return True

    def page_status(self, request, parts):
        if parts[0] in ("204", "304"):
            self.send(f"HTTP/1.1 {parts[0]} X\r\nX-Origin: yes\r\n\r\n".encode())
            return True
        return self.respond(f"{parts[0]} X", b"status\n", head=request.method == "HEAD")

    def page_until_close(self, _request, _parts):
        self.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end")
        return False

    def page_drop(self, _request, _parts):
        return False

    def page_slow(self, _request, parts):
        time.sleep(float(parts[0]))
        return self.respond("200 OK", b"slow\n")

    def page_gather(self, _request, parts):
        """Holds each answer until so many requests are here."""
        with GATHERING:
            GATHERED[self.path] = GATHERED.get(self.path, 0) + 1
            GATHERING.notify_all()
            all_here = GATHERING.wait_for(lambda: GATHERED[self.path] >= int(parts[0]), 60)
        return self.respond("200 OK" if all_here else "504 Alone", b"gathered\n")

    def page_drip(self, _request, parts):
        """One byte each 100 ms: a response that is under way for as long as a test needs."""
        count = int(parts[0])
        self.send(f"HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n".encode())
        for _ in range(count):
            self.send(b".")
            time.sleep(0.1)
        return True

    def page_headers(self, _request, _parts):
        return self.respond("200 OK", b"", ["Set-Cookie: a=1", "Set-Cookie: b=2",
                                            "Connection: X-Hop", "X-Hop: no",
                                            "Keep-Alive: timeout=5", "X-End: yes"])

    def page_bad(self, _request, parts):
        """Answers no proxy may pass on as they are."""
        answers = {
            "both": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "two": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            "cut": b"Content-Length: 50\r\n\r\nhello",
            "unended": b"\r\nhello",
            "unended-chunks": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        }
        self.send(b"HTTP/1.1 200 OK\r\n" + answers[parts[0]])
        if parts[0].startswith("unended"):
            self.request.shutdown(socket.SHUT_RDWR)  # without close_notify
        return False

    def git(self, request):
        """git http-backend as CGI, for callers with a credential."""
        self.note(request, b"")
        if not (request.get("authorization") or "").startswith("Basic "):
            self.read_body(request)
            return self.respond("401 Unauthorized", b"",
                                ['WWW-Authenticate: Basic realm="git"'])
        body = b""
        if "chunked" in (request.get("transfer-encoding") or ""):
            while (size := int(self.file.readline(1024), 16)) > 0:
                body += self.file.read(size)
                self.file.readline(3)
            self.file.readline(3)
        else:
            body = self.file.read(int(request.get("content-length") or 0))
        environment = {
            **os.environ, "GIT_PROJECT_ROOT": os.path.join(DIRECTORY, "repositories"),
            "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": self.path[4:], "QUERY_STRING": self.query,
            "REQUEST_METHOD": request.method, "CONTENT_TYPE": request.get("content-type") or "",
            "HTTP_CONTENT_ENCODING": request.get("content-encoding") or "",
            "HTTP_GIT_PROTOCOL": request.get("git-protocol") or "",
            "CONTENT_LENGTH": str(len(body)), "REMOTE_USER": "e2e", "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        result = subprocess.run(["git", "http-backend"], input=body, env=environment,
                                capture_output=True, check=False).stdout
        head, _, payload = result.partition(b"\r\n\r\n")
        lines = [line for line in head.decode().split("\r\n") if line]
        status = next((line[8:] for line in lines if line.startswith("Status: ")), "200 OK")
        return self.respond(status, payload, [x for x in lines if not x.startswith("Status")])


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size, context = True, True, 1024, None

    def handle_error(self, request, client_address):
        pass  # cut connections are what tests do


class Server6(Server):
    address_family = socket.AF_INET6


def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(DIRECTORY, "origin.pem"),
                            os.path.join(DIRECTORY, "origin.key"))

    def note_sni(connection, name, _context):
        connection.sni = name
    context.sni_callback = note_sni
    servers = []
    for address in ADDRESSES:
        kind = Server6 if ":" in address else Server
        servers += [kind((address, 80), Origin), kind((address, 443), Origin),
                    kind((address, 7000), Echo)]
        servers[-2].context = context
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
