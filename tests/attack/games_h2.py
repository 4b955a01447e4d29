# SPDX-License-Identifier: BSD-2-Clause
"""The games of games.py in HTTP/2, where a request names its host in :authority, Host, or both, and
where what HTTP/1.1 could not say (a line break in a field) may become a request behind a proxy that
translates."""
import ssl

import h2_frames as h2
from attacks import MARK, attack
from games import API, BOTH, FORBIDDEN, SECOND, WILD, dial

NO = "/no/" + MARK
HIDDEN = f"GET {NO} HTTP/1.1\r\nHost: {API}\r\nX-Mark: {MARK}\r\n\r\n"
BREAK = f"\r\nHost: {API}\r\n\r\n{HIDDEN}GET /ok/x HTTP/1.1"


class Ask:
    """One request. `lines` replaces its pseudo fields; `split`: the last of them goes in a CONTINUATION,
    and then there are no others, for they have to come first."""

    def __init__(self, authority=API, path=None, method="GET", more=(), lines=None, body="",
                 trailers=(), split=False):
        self.lines = lines or [(":method", method), (":scheme", "https"),
                               (":path", path or "/ok/" + MARK), (":authority", authority)]
        if not split:
            self.lines = [*self.lines, ("x-mark", MARK), *more]
        self.body, self.trailers, self.split = body, trailers, split

    def frames(self, stream):
        end = 0 if self.body or self.trailers else h2.END_STREAM
        if self.split:
            out = h2.frame(h2.HEADERS, end, stream, h2.block(self.lines[:-1]))
            out += h2.frame(h2.CONTINUATION, h2.END_HEADERS, stream, h2.block(self.lines[-1:]))
        else:
            out = h2.frame(h2.HEADERS, end | h2.END_HEADERS, stream, h2.block(self.lines))
        if self.body:
            out += h2.frame(h2.DATA, 0 if self.trailers else h2.END_STREAM, stream,
                            self.body.encode("latin-1"))
        if self.trailers:
            out += h2.frame(h2.HEADERS, h2.END_STREAM | h2.END_HEADERS, stream,
                            h2.block(self.trailers))
        return out


def answered(connection, stream):
    """Reads to the end of the stream, and says what came."""
    while True:
        kind, flags, where, payload = h2.read_frame(connection)
        if kind == h2.SETTINGS and not flags & h2.ACK:
            connection.sendall(h2.frame(h2.SETTINGS, h2.ACK, 0))
        elif kind in (h2.DATA, h2.HEADERS) and where == stream:
            print("headers" if kind == h2.HEADERS else payload[:200].decode("latin-1"))
            if flags & h2.END_STREAM:
                return
        elif kind in (3, 7):
            print("reset" if kind == 3 else "goaway", payload[:80])
            return


def play(*asks, host=API, connect="", sni=None, port=443, tls=True):
    try:
        s = dial(host, connect, port)
        s.settimeout(3)
        if tls:
            context = ssl._create_unverified_context()
            context.set_alpn_protocols(["h2"])
            s = context.wrap_socket(s, server_hostname=sni or host)
            if s.selected_alpn_protocol() != "h2":
                print("no HTTP/2")
                return
        s.sendall(h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0))
        for number, ask in enumerate(asks):
            s.sendall(ask.frames(2 * number + 1))
            answered(s, 2 * number + 1)
    except OSError as error:
        print("refused:", error)


def game(name, purpose, *asks, **options):
    def function():
        play(*asks, **options)
    function.__name__ = "game_h2_" + name
    attack("HTTP/2: " + purpose, "http alive once")(function)


def lines(*fields, path="/ok/" + MARK):
    return [(":method", "GET"), (":scheme", "https"), (":path", path), *fields]


game("authority_of_other_route", "dials one host, :authority of another", Ask(SECOND))
game("connect_then_authority", "CONNECT and SNI of one host, :authority of another", Ask(SECOND),
     connect=API)
game("sni_and_authority_forbidden", "SNI and :authority of a forbidden host", Ask(FORBIDDEN),
     sni=FORBIDDEN)
game("authority_and_host", ":authority of one host, Host of another", Ask(more=[("host", SECOND)]))
game("host_alone", "no :authority, Host of another", Ask(lines=lines(("host", SECOND))))
game("two_authorities", "two :authority fields",
     Ask(lines=lines((":authority", API), (":authority", SECOND))))
game("two_paths", "two :path fields", Ask(lines=lines((":path", NO), (":authority", API))))
game("second_stream", "a second stream of the connection names another host", Ask(),
     Ask(SECOND, NO))
game("second_stream_path", "a second stream of the connection goes where none may", Ask(),
     Ask(path=NO))
game("continuation", "the :authority of another host in a CONTINUATION frame",
     Ask(SECOND, split=True))
game("authority_userinfo", ":authority with user information", Ask(f"{API}@{FORBIDDEN}"))
game("path_dots", "dot segments out of the allowed path", Ask(path=f"/ok/../no/{MARK}"))
game("path_absolute", "a :path that is a whole URL of another host",
     Ask(path=f"https://{SECOND}{NO}"))
game("path_break", "a request behind a line break in :path", Ask(path="/ok/x HTTP/1.1" + BREAK))
game("method_break", "a request behind a line break in :method",
     Ask(method=f"GET /ok/x HTTP/1.1{BREAK}\r\nX: y\r\n\r\nGET"))
game("value_break", "a request behind a line break in a field's value",
     Ask(path="/ok/x", more=[("x-a", "b\r\n\r\n" + HIDDEN)]))
game("name_break", "a request behind a line break in a field's name",
     Ask(path="/ok/x", more=[("x-a: b\r\n\r\n" + HIDDEN + "x", "y")]))
game("smuggled_length", "Content-Length: 0, and a request as the body",
     Ask(path="/ok/x", method="POST", more=[("content-length", "0")], body=HIDDEN))
game("smuggled_chunked", "Transfer-Encoding, and a request behind the last chunk",
     Ask(path="/ok/x", method="POST", more=[("transfer-encoding", "chunked")],
         body="0\r\n\r\n" + HIDDEN))
game("pseudo_in_trailers", "trailers with another :path",
     Ask(path="/ok/x", method="POST", body="x", trailers=[(":path", NO)]))
game("own_authorization", "the program's own Authorization, in the header and in trailers",
     Ask(BOTH, more=[("authorization", "Bearer " + MARK)]),
     Ask(BOTH, method="POST", body="x", trailers=[("authorization", "Bearer " + MARK)]), host=BOTH)
game("own_api_key", "the program's own value for the field that a route injects",
     Ask(SECOND, more=[("x-api-key", MARK)]), host=SECOND)
game("method", "a method that the route does not allow", Ask(WILD, NO, "DELETE"), host=WILD)
game("connect_stream", "a CONNECT stream to a forbidden host",
     Ask(lines=[(":method", "CONNECT"), (":authority", FORBIDDEN + ":443")]))
game("plain_credential", "HTTP/2 by prior knowledge without TLS asks for the credential", Ask(),
     port=80, tls=False)
