# SPDX-License-Identifier: BSD-2-Clause
"""The published ways to make two HTTP/1.1 parsers disagree (CL.TE, TE.CL, TE.TE, CL.0, chunk sizes and
extensions, blanks round names), each with a second request hidden in the body: refused, or exactly
what was judged arrives. The hidden path is one that policy refuses: seen at the origin, it got past."""
import json

import harness
from harness import BottleCase

HIDDEN = "GET /hidden HTTP/1.1\r\nHost: api.example.test\r\nX: "
# As it stands in the head, for a field that some parser reads as Transfer-Encoding: chunked.
CODINGS = [
    "Transfer-Encoding: chunked", "Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked",
    " Transfer-Encoding: chunked", "\tTransfer-Encoding: chunked", "Transfer-Encoding:\tchunked",
    "Transfer-Encoding:chunked", "Transfer-Encoding:  chunked ", "Transfer-Encoding: \x0bchunked",
    "Transfer-Encoding: chunked\x0b", "Transfer-Encoding: chunked\0", "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx", "Transfer-Encoding: CHUNKED", "Transfer-Encoding: chUnked",
    "transfer-encoding: chunked", "TRANSFER-ENCODING: chunked", "Transfer_Encoding: chunked",
    "Transfer-Encoding: \"chunked\"", "Transfer-Encoding: 'chunked'", "Transfer-Encoding: [chunked]",
    "Transfer-Encoding: chunked;a=b", "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked", "Transfer-Encoding: ,chunked", "Transfer-Encoding: chunked,",
    "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-encoding: cow", "Transfer-Encoding\r\n: chunked",
    "Transfer-Encoding:\r\n chunked", "Transfer-Encoding:\n chunked", "X: y\nTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked", "X: y\r\n\tTransfer-Encoding: chunked",
    "Transfer-Encoding: \x85chunked", "Transfer-Encoding: chunked\xa0", "\x01Transfer-Encoding: chunked",
    "Transfer-\x00Encoding: chunked", "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
]
LENGTHS = [
    "Content-Length: {n}", "Content-Length : {n}", " Content-Length: {n}", "Content-Length: +{n}",
    "Content-Length: 0{n}", "Content-Length: {n}\r\nContent-Length: 0",
    "Content-Length: 0\r\nContent-Length: {n}", "Content-Length: {n}, {n}", "Content-Length: 0, {n}",
    "Content-Length: {n};", "Content-Length: 0x{n}", "Content-Length: {n}.0", "Content-Length: {n} 0",
    "Content-Length: \x0b{n}", "Content_Length: {n}", "Content-Length:\n {n}", "Content-Length: ",
    "Connection: Content-Length\r\nContent-Length: {n}", "Content-Length: 18446744073709551616",
]
CHUNKS = [
    "{n:x}\r\n", "{n:X}\r\n", "0{n:x}\r\n", "{n:x};a=b\r\n", "{n:x};a=\"\r\n\"\r\n", "{n:x};\r\n",
    "{n:x} \r\n", " {n:x}\r\n", "{n:x}\t;a\r\n", "0x{n:x}\r\n", "+{n:x}\r\n", "{n:x}\n", "{n:x}\r",
    "{n:x}\r\r\n", "{n:x};\n\r\n", "{n:x};a\rb\r\n", "{n:x}\x0b\r\n", "10000000000000{n:04x}\r\n",
    "fffffffffffffffff{n:x}\r\n", "-{n:x}\r\n", "\r\n{n:x}\r\n", "{n:x}_\r\n",
]
SEND = r"""
import json, socket, ssl, sys
context = ssl._create_unverified_context()
for data in json.load(open(sys.argv[1])):
    s = context.wrap_socket(socket.create_connection(("api.example.test", 443), 5),
                            server_hostname="api.example.test")
    s.settimeout(0.2)
    out = b""
    try:
        s.sendall(data.encode("latin-1"))
        while part := s.recv(65536):
            out += part
    except OSError:
        pass
    print(json.dumps(out.decode("latin-1")))
    s.close()
"""


def request(*lines, body=""):
    return "\r\n".join(["POST /echo HTTP/1.1", "Host: api.example.test", *lines]) + "\r\n\r\n" + body


class Smuggling(BottleCase):
    def send(self, cases):
        path = harness.write("smuggling", json.dumps(cases))
        output = self.ok(self.bottle.python(SEND, path, timeout=120))
        answers = [json.loads(line) for line in output.splitlines()]
        self.assertEqual(len(answers), len(cases))
        arrived = self.arrived()
        for seen in arrived:
            self.assertEqual(seen["target"], "/echo", seen)
            # One framing field, in its plain form.
            framing = [(k, v) for k, v in seen["headers"]
                       if k.lower().replace("_", "-") in ("content-length", "transfer-encoding")]
            self.assertLessEqual(len(framing), 1, seen)
            for name, value in framing:
                self.assertRegex(f"{name}: {value}",
                                 r"^(Content-Length: \d+|Transfer-Encoding: chunked)$")
        accepted = sum(a.startswith("HTTP/1.1 200") for a in answers)
        self.assertLessEqual(len(arrived), len(cases))
        self.assertGreaterEqual(len(arrived), accepted)
        return answers

    def test_both_fields(self):
        """CL.TE and TE.CL: with both, however one is spelt, nothing passes as both."""
        cases = []
        for coding in CODINGS:
            body = "0\r\n\r\n" + HIDDEN
            cases.append(request(f"Content-Length: {len(body)}", coding, body=body))
            chunk = HIDDEN + "x"
            cases.append(request(coding, "Content-Length: 4",
                                 body=f"{len(chunk):x}\r\n{chunk}\r\n0\r\n\r\n"))
        self.send(cases)

    def test_codings(self):
        answers = self.send([request(coding, body="0\r\n\r\n" + HIDDEN) for coding in CODINGS])
        self.assertTrue(answers[0].startswith("HTTP/1.1 200"), answers[0])

    def test_lengths(self):
        """CL.0 and CL.CL: a length that is not one, or two of them."""
        answers = self.send([request(line.format(n=len(HIDDEN)), body=HIDDEN) for line in LENGTHS])
        self.assertTrue(answers[0].startswith("HTTP/1.1 200"), answers[0])

    def test_chunks(self):
        answers = self.send([request("Transfer-Encoding: chunked", body=chunk.format(n=len(HIDDEN)) +
                                     HIDDEN + "\r\n0\r\n\r\n") for chunk in CHUNKS])
        self.assertTrue(answers[0].startswith("HTTP/1.1 200"), answers[0])
        ends = ["0\r\n\r\n", "00\r\n\r\n", "0;a\r\n\r\n", "0\r\nX: y\r\n\r\n", "0\n\n", "0\r\n\n",
                "0\r\nContent-Length: 9\r\n\r\n", "0\r\n X: y\r\n\r\n", "0\r\nX: y\n\r\n", "\r\n\r\n"]
        self.send([request("Transfer-Encoding: chunked", body="1\r\nx\r\n" + end + HIDDEN)
                   for end in ends])
