# SPDX-License-Identifier: BSD-2-Clause
"""bad_origin.py ADDRESS LOG PORT:CERT:KEY[:old]...: HTTPS whose certificates, or TLS (`old`: 1.0 alone),
are not what a client should accept. Whatever is asked all the same is noted in LOG."""
import socket
import ssl
import sys
import threading

ADDRESS, LOG = sys.argv[1:3]


def answer(connection, context):
    try:
        with context.wrap_socket(connection, server_side=True) as tls:
            data = tls.recv(65536)
            if data:
                with open(LOG, "ab") as file:
                    file.write(data)
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    except OSError:
        pass


def serve(port, certificate, key, old):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(certificate, key)
    if old:
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    listener = socket.create_server((ADDRESS, port))
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0], context), daemon=True).start()


for place in sys.argv[3:]:
    number, certificate_path, key_path, *more = place.split(":")
    threading.Thread(target=serve, args=(int(number), certificate_path, key_path, bool(more))).start()
