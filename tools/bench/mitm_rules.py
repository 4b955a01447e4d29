# SPDX-License-Identifier: BSD-2-Clause
"""What our policy does, as an addon of mitmproxy: host and path, one header stripped, one set, one
line of log for each request."""
import json

from mitmproxy import ctx, http

ROUTES = {"bulk.example.test": ("/kib", "/gib")}


class Rules:
    def __init__(self):
        self.log = None

    def load(self, loader):
        loader.add_option("rules_log", str, "", "where a line for each request goes")

    def configure(self, updated):
        if "rules_log" in updated:
            self.log = open(ctx.options.rules_log, "a", encoding="utf-8")

    def request(self, flow):
        request = flow.request
        allowed = request.path.startswith(ROUTES.get(request.pretty_host, ()))
        if allowed:
            request.headers.pop("Authorization", None)
            request.headers["Authorization"] = "Bearer bench"
        else:
            flow.response = http.Response.make(403, b'{"error":"egress_denied"}\n')
        self.log.write(json.dumps({"host": request.pretty_host, "method": request.method,
                                   "path": request.path, "allowed": allowed}) + "\n")


addons = [Rules()]
