# SPDX-License-Identifier: BSD-2-Clause
"""grpc_client.py CA HOST: every kind of call; prints what came as one JSON line."""
import json
import sys

import grpc

with open(sys.argv[1], "rb") as file:
    credentials = grpc.ssl_channel_credentials(file.read())
channel = grpc.secure_channel(f"{sys.argv[2]}:443", credentials,
                              options=[("grpc.max_receive_message_length", -1)])
result = {}
call = channel.unary_unary("/e2e.Test/Unary")
answer, info = call.with_call(b"hello", metadata=(("x-a", "b"),), timeout=10)
result["unary"] = answer.decode()
result["trailer"] = dict(info.trailing_metadata()).get("x-trailer")
result["large"] = len(call(b"x" * 3000000, timeout=20))
result["stream"] = [int(x) for x in channel.unary_stream("/e2e.Test/Stream")(b"100", timeout=10)]


def talk():
    """Each message is sent when the answer to the one before has come."""
    import queue
    pending = queue.Queue()
    calls = channel.stream_stream("/e2e.Test/Both")(iter(pending.get, None), timeout=10)
    for number in range(50):
        pending.put(b"%d" % number)
        yield next(calls).decode()
    pending.put(None)
    yield from (x.decode() for x in calls)


result["both"] = list(talk())


def failure(method, timeout=10):
    try:
        channel.unary_unary(method)(b"", timeout=timeout)
        return "none"
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"


result["fail"] = failure("/e2e.Test/Fail")
result["unknown"] = failure("/e2e.Test/Unknown")
result["refused"] = failure("/other.Service/Call")
result["deadline"] = failure("/e2e.Test/Slow", 0.5).split(":")[0]
print(json.dumps(result))
