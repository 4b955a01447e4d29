# SPDX-License-Identifier: BSD-2-Clause
"""What the origins were asked for that the policy in bottles.py does not allow."""
import re
import threading

import harness

TOKEN = re.compile(r"LK[0-9a-f]{12}")
CREDENTIALS = [("203.0.113.10", harness.SECRETS["E2E_TOKEN_0"]),
               ("203.0.113.11", harness.SECRETS["E2E_TOKEN_1"])]
# The names that each address may be asked for; passed through unseen: any.
ALLOWED = {"203.0.113.10": r"api\.example\.test", "203.0.113.11": r"second\.example\.test",
           "203.0.113.13": ".*", "203.0.113.15": r".+\.wild\.example\.test",
           "203.0.113.18": r"both\.example\.test"}
# What frameworks take the method, or the path, from in place of the request line, as CGI reads names.
METHODS = ("x-http-method-override", "x-http-method", "x-method-override")
PATHS = ("x-original-url", "x-rewrite-url")


def fault(request):
    """Why this request should not have arrived, or None."""
    address, text = request["address"], str(request["headers"])
    for home, secret in CREDENTIALS:
        if secret in text and address != home:
            return "another host was sent the credential"
        if secret in text and not request["tls"]:
            return "the credential went over plain HTTP"
    if address not in ALLOWED:
        return f"{address} is no host of the policy"
    hosts = [v for k, v in request["headers"] if k.lower() == "host"]
    if not all(re.fullmatch(ALLOWED[address] + r"\.?(:\d+)?", x, re.I) for x in hosts):
        return f"{address} was asked for {hosts}"
    if address == "203.0.113.10" and not request["target"].startswith("/ok/"):
        return f"path {request['target']}"
    if address == "203.0.113.10" and re.search(r"\.\.|%2e|%2f|%5c|%00", request["target"], re.I):
        return f"ambiguous path {request['target']}"
    if address == "203.0.113.15" and request["method"] != "GET":
        return f"method {request['method']}"
    for name, value in request["headers"]:
        field = name.lower().replace("_", "-")
        if address == "203.0.113.15" and field in METHODS and value != "GET":
            return f"method by {name}: {value}"
        if address == "203.0.113.10" and field in PATHS:
            return f"path by {name}: {value}"
        if name.lower() in ("authorization", "x-api-key") and TOKEN.search(value):
            return "the program's own credential passed"
    return None


class Oracle:
    def __init__(self):
        self.read, self.faults, self.lock = 0, {}, threading.Lock()

    def look(self):
        with self.lock:
            fresh = harness.origin_requests(self.read)
            self.read += len(fresh)
            for request in fresh:
                why = fault(request)
                if why:
                    for mark in TOKEN.findall(str(request)):
                        self.faults[mark] = why

    def saw(self, target):
        why = self.faults.get(target.mark)
        return why and why.encode()
