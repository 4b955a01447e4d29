# SPDX-License-Identifier: BSD-2-Clause
"""mtls_origin.py ADDRESS PORT CERT KEY CLIENT_CA: HTTPS for those who show a certificate of that CA;
the answer is the name in it."""
import http.server
import ssl
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        subject = dict(pair[0] for pair in self.connection.getpeercert()["subject"])
        body = f"{self.path} {subject['commonName']} {self.client_address[1]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # handshakes without a certificate are what tests do

    def finish_request(self, request, client_address):
        request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)


server = Server((sys.argv[1], int(sys.argv[2])), Handler)
server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.context.load_cert_chain(sys.argv[3], sys.argv[4])
server.context.load_verify_locations(sys.argv[5])
server.context.verify_mode = ssl.CERT_REQUIRED
server.serve_forever()
