# SPDX-License-Identifier: BSD-2-Clause
"""grpc_server.py DIRECTORY ADDRESS: a gRPC service of plain bytes: /e2e.Test/{Unary,Stream,Both,Fail}."""
import os
import sys
import time
from concurrent import futures

import grpc

directory, address = sys.argv[1:3]


def unary(request, context):
    context.set_trailing_metadata((("x-trailer", "sent"),))
    return b"unary:" + request + b":" + dict(context.invocation_metadata()).get("x-a", "").encode()


def stream(request, _context):
    for number in range(int(request)):
        yield b"%d" % number


def both(requests, _context):
    for request in requests:
        yield b"echo:" + request


def fail(_request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "nothing here")


def slow(_request, _context):
    time.sleep(20)
    return b""


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "/e2e.Test/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/e2e.Test/Slow": grpc.unary_unary_rpc_method_handler(slow),
            "/e2e.Test/Stream": grpc.unary_stream_rpc_method_handler(stream),
            "/e2e.Test/Both": grpc.stream_stream_rpc_method_handler(both),
            "/e2e.Test/Fail": grpc.unary_unary_rpc_method_handler(fail),
        }.get(details.method)


def read(name):
    with open(os.path.join(directory, name), "rb") as file:
        return file.read()


server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
server.add_generic_rpc_handlers((Handler(),))
server.add_secure_port(f"{address}:443", grpc.ssl_server_credentials(
    [(read("origin.key"), read("origin.pem"))]))
server.start()
server.wait_for_termination()
