# SPDX-License-Identifier: BSD-2-Clause
"""Names against each other: reaching for another route's credential, or past a route's rules. With
no wall they are played against a proxy that believes the client (outsider.py naive)."""
import os
import socket
import ssl

from attacks import MARK, PROXY_PORT, attack

API, SECOND, FORBIDDEN = (f"{n}.example.test" for n in ("api", "second", "forbidden"))
BOTH, WILD = "both.example.test", "deep.wild.example.test"
NAIVE = os.environ.get("NAIVE")


def dial(host, connect, port):
    """Straight to a host; or by CONNECT; or, with no wall, by the proxy that believes."""
    if not connect and not NAIVE:
        return socket.create_connection((host, port), 5)
    proxy = ("127.0.0.1", int(NAIVE) if NAIVE else PROXY_PORT)
    s = socket.create_connection(proxy, 5)
    s.settimeout(5)
    name = connect or host
    s.sendall(f"CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n".encode())
    answer = s.recv(4096)
    if b" 200 " not in answer.split(b"\r\n")[0]:
        raise OSError(answer.decode("latin-1")[-300:])
    return s


def play(*messages, host=API, connect="", sni=None, port=443, tls=True):
    try:
        s = dial(host, connect, port)
        s.settimeout(3)
        if tls:
            context = ssl._create_unverified_context()
            s = context.wrap_socket(s, server_hostname=(host if sni is None else sni) or None)
        for message in messages:
            s.sendall(message.encode("latin-1"))
            try:
                print(s.recv(65536).decode("latin-1").split("\r\n\r\n")[-1][:300])
            except OSError as error:
                print("closed:", error)
    except (OSError, ssl.SSLError) as error:
        print("refused:", error)


def get(host, path=None, more="", method="GET"):
    return (f"{method} {path or '/ok/' + MARK} HTTP/1.1\r\nHost: {host}\r\nX-Mark: {MARK}\r\n"
            f"{more}\r\n")


def game(name, purpose, *arguments, **options):
    def function():
        play(*[x() if callable(x) else x for x in arguments], **options)
    function.__name__ = "game_" + name
    attack(purpose, "http alive")(function)


game("host_of_other_route", "dials one host, asks for another in Host", get(SECOND))
game("sni_and_host_of_other_route", "dials one host, SNI and Host of another", get(SECOND),
     sni=SECOND)
game("sni_of_other_route", "dials one host, SNI of another, Host of the first", get(API), sni=SECOND)
game("sni_forbidden", "dials an allowed host, SNI and Host of a forbidden one", get(FORBIDDEN),
     sni=FORBIDDEN)
game("host_forbidden", "dials an allowed host, Host of a forbidden one", get(FORBIDDEN))
game("no_sni", "no SNI, Host of another route", get(SECOND), sni="")
game("connect_then_other", "CONNECT to one host, SNI and Host of another", get(SECOND), connect=API,
     sni=SECOND)
game("connect_then_host", "CONNECT and SNI of one host, Host of another", get(API), connect=SECOND,
     sni=SECOND)
game("connect_forbidden", "CONNECT to a forbidden host, SNI and Host allowed", get(API),
     connect=FORBIDDEN, sni=API)
game("connect_address", "CONNECT to an address of one's own, SNI and Host allowed", get(API),
     connect="203.0.113.12", sni=API)
game("address_trusted_host", "dials an address of one's own, SNI and Host allowed", get(API),
     host="203.0.113.12", sni=API)
game("plain_credential", "asks for the credential over plain HTTP", get(API), port=80, tls=False)
game("plain_host_of_other", "plain HTTP to one host, Host of another", get(SECOND), host=BOTH,
     port=80, tls=False)
game("two_hosts", "two Host headers", get(API, more=f"Host: {FORBIDDEN}\r\n", path="/ok/x"),
     get(API, path="/no/" + MARK))
game("absolute_form", "absolute-form to another host inside TLS",
     f"GET https://{SECOND}/no/{MARK} HTTP/1.1\r\nHost: {API}\r\nX-Mark: {MARK}\r\n\r\n")
game("second_request_other_path", "a second request on the connection goes where none may",
     get(API), get(API, path="/no/" + MARK))
game("second_request_other_host", "a second request on the connection names another host",
     get(API), get(SECOND, path="/no/" + MARK))
game("pipelined", "two requests in one write, the second where none may",
     get(API) + get(API, path="/no/" + MARK))
game("path_outside", "a path that no route allows", get(API, path="/no/" + MARK))
game("path_dots", "dot segments out of the allowed path", get(API, path=f"/ok/../no/{MARK}"))
game("path_encoded_dots", "encoded dot segments", get(API, path=f"/ok/%2e%2e/no/{MARK}"))
game("path_encoded_slash", "dot segments with an encoded slash", get(API, path=f"/ok/..%2fno/{MARK}"))
game("path_backslash", "dot segments with backslashes", get(API, path=f"/ok/..%5c..%5cno/{MARK}"))
game("path_double_slash", "an empty segment", get(API, path=f"//no/ok/{MARK}"))
game("path_case", "the allowed path in other case", get(API, path=f"/OK/{MARK}"))
game("path_prefix", "a path that begins like the allowed one", get(API, path=f"/okay/{MARK}"))
game("path_nul", "a NUL behind the allowed path", get(API, path=f"/ok%00/../no/{MARK}"))
game("method", "a method that the route does not allow",
     get(WILD, method="DELETE", path="/no/" + MARK), host=WILD)
game("method_override", "a header asks for a method that the route does not allow",
     get(WILD, path="/no/" + MARK, more="X-HTTP-Method-Override: DELETE\r\n"), host=WILD)
game("method_override_underscores", "the same, spelled as CGI reads it",
     get(WILD, path="/no/" + MARK, more="X_Http_Method: DELETE\r\n"), host=WILD)
game("path_override", "a header asks for a path that no route allows",
     get(API, path="/ok/x", more=f"X-Original-URL: /no/{MARK}\r\nX_Rewrite_Url: /no/{MARK}\r\n"))
game("method_override_smuggled", "Content-Length and chunked: a request inside a body",
     f"POST /ok/x HTTP/1.1\r\nHost: {API}\r\nX-Mark: {MARK}\r\nContent-Length: 500\r\n"
     f"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get(API, path="/no/" + MARK))
game("smuggled_bare_lf", "a header line that ends in a bare LF hides a request",
     f"GET /ok/x HTTP/1.1\r\nHost: {API}\r\nX-Mark: {MARK}\n\nGET /no/{MARK} HTTP/1.1\r\n"
     f"Host: {API}\r\nX-Mark: {MARK}\r\n\r\n")
game("smuggled_space_colon", "a space before the colon of Transfer-Encoding",
     f"POST /ok/x HTTP/1.1\r\nHost: {API}\r\nX-Mark: {MARK}\r\nContent-Length: 0\r\n"
     f"Transfer-Encoding : chunked\r\n\r\n" + get(API, path="/no/" + MARK))
game("own_authorization", "the program's own Authorization, to act as somebody else",
     get(BOTH, more=f"Authorization: Bearer {MARK}\r\n"), host=BOTH)
game("own_api_key", "the program's own value for the header that a route injects",
     get(SECOND, more=f"X-Api-Key: {MARK}\r\n"), host=SECOND)
game("hop_by_hop", "Connection names the injected header, so that a careless hop drops it",
     get(API, path="/no/" + MARK, more="Connection: close, Authorization\r\n"))
game("host_userinfo", "Host with user information", get(f"{API}@{FORBIDDEN}", path="/no/" + MARK))
game("host_trailing_dot", "Host with a trailing dot, a path that none may", 
     get(API + ".", path="/no/" + MARK))
game("upgrade_tunnel", "an upgrade, and behind it another request",
     get(API, path="/ok/x", more="Connection: Upgrade\r\nUpgrade: websocket\r\n"),
     get(API, path="/no/" + MARK))
game("connect_inside_tls", "CONNECT inside the intercepted connection",
     f"CONNECT {FORBIDDEN}:443 HTTP/1.1\r\nHost: {API}\r\n\r\n" + get(API, path="/no/" + MARK))
