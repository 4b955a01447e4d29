# SPDX-License-Identifier: BSD-2-Clause
"""What gets out by the documentation's own word, and why. Everything else must hold."""
import fnmatch
import os

UNIX = "unix sockets of processes outside: stopped by the launcher alone, of which there is none"
OLD = "made before it joined the cgroup: stopped by the missing wire alone"
CGROUPFS = "who may write cgroupfs leaves the cgroup: stopped by the missing wire alone"
TAKE_DOWN = "root of the host takes the wall down"
NET_ADMIN = "CAP_NET_ADMIN over the namespace that has the wire"
FRAMES = "a socket that sends frames, past the cgroup hooks: stopped by the missing wire alone"
COMPAT = "a 32-bit system call, whose options no program on a cgroup is asked about"
CHECKSUM = "no BTF: the network card fills in a checksum after the tc wall, where the packet says"
PEERS = "CAP_SYS_ADMIN of the host: its programs may write who came to a published port"
NETNSID = "CAP_NET_ADMIN of the host: makes links on its devices, which are taken away a moment later"
HANDLE = "CAP_SYS_ADMIN of the host, Linux 6.18: opens its namespaces by handles, and is root of the host"

# setting, users, attacks, reason
ADMITTED = [
    ("*", "*", "dns_wildcard_connected", "a wildcard route allows its names, and asking for them"),
    ("shared", "root docker", "packet_* xdp_* setns_by_handle", "packet sockets of root"),
    ("own", "root", "setns_by_handle", HANDLE),
    ("wire", "root", "setns_by_handle", HANDLE),
    ("shared", "*", "pppoe", FRAMES),
    ("shared", "*", "igmp_membership32 mld_membership32", COMPAT),
    ("shared", "*", "prejoin_*", OLD),
    ("shared", "*", "unix_relay_* scm_rights_*", UNIX),
    ("shared", "root", "pidfd_getfd", "root of the host takes sockets out of any process"),
    ("shared", "root docker", "cgroup_move_root cgroup_move_sibling cgroup_clone_into", CGROUPFS),
    ("shared", "root", "cgroup_fresh_mount", CGROUPFS),
    ("shared", "root", "bpf_link_detach bpf_link_update bpf_map_write bpf_wire_maps",
     TAKE_DOWN),
    ("shared", "root docker", "bpf_unpin", TAKE_DOWN),
    ("shared", "root", "net_address net_tc_mirred net_tun net_vxlan bpf_tcx_redirect "
     "bpf_xdp_live_frames net_nft_dup net_nft_forward net_macvlan_outside net_macvlan_at_once "
     "bpf_redirect_peer net_neighbour_use", NET_ADMIN),
    ("wire", "root", "packet_forged_peer", PEERS),
    ("wire", "root", "net_macvlan_outside net_macvlan_at_once", NETNSID),
]
if not os.path.exists("/sys/kernel/btf/vmlinux"):
    ADMITTED.append(("wire", "root docker", "packet_checksum_port", CHECKSUM))


# What a kernel has not got, and what that lets out.
LACKING = {"unix_sockets": ("unix_relay_late*", "this kernel takes no programs at its security hooks, "
                            "so a unix socket younger than the bottle is not told from its own")}


def reason(setting, user, name, lacks):
    """`lacks`: what is missing in this place on this kernel, of LACKING."""
    for what in lacks:
        pattern, why = LACKING[what]
        if fnmatch.fnmatch(name, pattern):
            return why
    for where, users, names, why in ADMITTED:
        if fnmatch.fnmatch(setting, where) and (users == "*" or user in users.split()) \
                and any(fnmatch.fnmatch(name, p) for p in names.split()):
            return why
    return None
