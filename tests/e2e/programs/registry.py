# SPDX-License-Identifier: BSD-2-Clause
"""registry.py ADDRESS PORT CERT KEY: a container registry as pulls see it. Manifests want a token
from another place, blobs are behind a redirect to a CDN's host. And /ws: a WebSocket echo on PORT+1."""
import asyncio
import gzip
import http.server
import json
import ssl
import sys
import threading

import websockets

TOKEN = "pull-token-of-the-client"
CDN = "https://bulk.example.test"
REALM = f"https://second.example.test:{int(sys.argv[2])}/token"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"", **fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/token"):
            return self.answer(200, json.dumps({"token": TOKEN}).encode())
        if self.path == "/away":
            return self.answer(302, Location="https://forbidden.example.test/x")
        if self.path == "/gzip":
            return self.answer(200, gzip.compress(b"squeezed\n" * 100, mtime=0),
                               Content_Encoding="gzip", ETag='"g"')
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, WWW_Authenticate=f'Bearer realm="{REALM}",service="test"')
        if "/manifests/" in self.path:
            return self.answer(200, b'{"layers": ["layer"]}', Docker_Content_Digest="sha256:0")
        return self.answer(307, Location=f"{CDN}/layer")

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def serve_websockets(context):
    async with websockets.serve(echo, sys.argv[1], int(sys.argv[2]) + 1, ssl=context,
                                max_size=None):
        await asyncio.Future()


tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(sys.argv[3], sys.argv[4])
server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
threading.Thread(target=server.serve_forever, daemon=True).start()
asyncio.run(serve_websockets(tls))
