# SPDX-License-Identifier: BSD-2-Clause
"""What the documentation admits to get out, and why. Everything else must hold."""
import fnmatch

# (setting, users, attacks) -> reason
ADMITTED = [
    ("shared", "root docker", "packet_* xdp_*", "packet sockets of root"),
]


def reason(setting, user, name):
    for where, users, names, why in ADMITTED:
        if where == setting and user in users.split() \
                and any(fnmatch.fnmatch(name, p) for p in names.split()):
            return why
    return None
