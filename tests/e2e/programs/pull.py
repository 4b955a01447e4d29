# SPDX-License-Identifier: BSD-2-Clause
"""What a container engine does to pull: a manifest, 401, a token from the realm, the manifest again,
a blob by redirect to another host; cut off half-way and resumed."""
import hashlib
import re
import sys
import urllib.error
import urllib.request
import json

base = sys.argv[1]


def get(url, **fields):
    return urllib.request.urlopen(urllib.request.Request(url, headers=fields))


try:
    get(base + "/v2/acme/app/manifests/latest")
except urllib.error.HTTPError as error:
    print(error.code)
    realm = re.search('realm="([^"]+)"', error.headers["WWW-Authenticate"])[1]
token = json.load(get(realm + "?scope=pull"))["token"]
bearer = "Bearer " + token
manifest = get(base + "/v2/acme/app/manifests/latest", Authorization=bearer)
print(manifest.status, manifest.headers["Docker-Content-Digest"], manifest.read())


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


try:
    urllib.request.build_opener(Stay).open(urllib.request.Request(
        base + "/v2/acme/app/blobs/sha256:1", headers={"Authorization": bearer}))
except urllib.error.HTTPError as error:
    print(error.code, error.headers["Location"])
    blob = error.headers["Location"]
first = get(blob)
digest, size = hashlib.sha256(), int(first.headers["Content-Length"])
part = first.read(size // 2)
first.close()
digest.update(part)
rest = get(blob, Range=f"bytes={len(part)}-", **{"If-Range": first.headers["ETag"]})
print(rest.status, rest.headers["Content-Range"])
digest.update(rest.read())
print(digest.hexdigest())
