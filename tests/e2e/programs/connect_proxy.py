# SPDX-License-Identifier: BSD-2-Clause
"""connect_proxy.py ADDRESS PORT LOG [CERT KEY]: an HTTP proxy for CONNECT alone, as companies have
them outside. USER:PASSWORD comes from the variable PROXY_CREDENTIAL. One JSON line per request."""
import base64
import json
import os
import selectors
import socket
import socketserver
import ssl
import sys

LOG = open(sys.argv[3], "a", buffering=1, encoding="utf-8")
CREDENTIAL = os.environ.get("PROXY_CREDENTIAL")
KNOWN = {"outside-only.example.test": "203.0.113.18"}  # names that only this proxy can resolve


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        client = self.request
        if self.server.context:
            client = self.server.context.wrap_socket(client, server_side=True)
        head = b""
        while b"\r\n\r\n" not in head:
            part = client.recv(1)
            if not part:
                return
            head += part
        lines = head.decode("latin-1").split("\r\n")
        method, authority, _ = lines[0].split(" ")
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        LOG.write(json.dumps({"method": method, "authority": authority, "fields": fields,
                              "tls": bool(self.server.context)}) + "\n")
        host, _, port = authority.rpartition(":")
        if CREDENTIAL:
            wanted = "Basic " + base64.b64encode(CREDENTIAL.encode()).decode()
            if fields.get("Proxy-Authorization") != wanted:
                return self.refuse(client, "407 Proxy Authentication Required", "who are you?")
        if method != "CONNECT" or host == "dead.example.test":
            return self.refuse(client, "403 Forbidden", f"blocked by pipelock: {host}\x1b[31m")
        with socket.create_connection((KNOWN.get(host, host.strip("[]")), int(port)), 5) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")
            self.relay(client, server)

    @staticmethod
    def refuse(client, status, text):
        body = text.encode()
        client.sendall(f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n"
                       f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

    @staticmethod
    def relay(client, server):
        selector = selectors.DefaultSelector()
        selector.register(client, selectors.EVENT_READ, server)
        selector.register(server, selectors.EVENT_READ, client)
        ended = 0
        while ended < 2:
            for key, _ in selector.select():
                data = key.fileobj.recv(65536)
                while isinstance(key.fileobj, ssl.SSLSocket) and key.fileobj.pending():
                    data += key.fileobj.recv(65536)
                if data:
                    key.data.sendall(data)
                    continue
                ended += 1
                selector.unregister(key.fileobj)
                if isinstance(key.data, ssl.SSLSocket):
                    return
                key.data.shutdown(socket.SHUT_WR)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

    def handle_error(self, request, client_address):
        pass  # cut connections are what tests do


def main():
    server = Server((sys.argv[1], int(sys.argv[2])), Handler)
    server.context = None
    if len(sys.argv) > 4:
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(sys.argv[4], sys.argv[5])
    server.serve_forever()


if __name__ == "__main__":
    main()
