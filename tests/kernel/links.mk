# SPDX-License-Identifier: BSD-2-Clause
# The modules that each kernel test links.
kernel_modules := kernel kernel_pins kernel_links kernel_tc kernel_wire kernel_btf kernel_root kernel_unix kernel_unix_doors kernel_maps kernel_events kernel_status cgroup \
	bottle_let_in address diag tests/wall
links_test_kernel_steer := $(kernel_modules)
links_test_kernel_refuse := $(kernel_modules)
links_test_kernel_flow := $(kernel_modules)
links_test_kernel_shared := $(kernel_modules)
links_test_kernel_ports := $(kernel_modules)
links_test_kernel_pins := $(kernel_modules)
links_test_kernel_wire := $(kernel_modules)
links_test_kernel_tc := $(kernel_modules) tc_wall tc_wall_links tests/tc_wire tests/tc_attacks
links_test_kernel_unix := $(kernel_modules)
links_test_kernel_root := $(kernel_modules)
links_test_kernel_icmp := $(kernel_modules) tc_wall tc_wall_links tests/tc_wire
links_test_kernel_checksum := $(kernel_modules) tc_wall tc_wall_links tests/tc_wire
links_test_cgroup := $(kernel_modules)
links_test_self_test := $(kernel_modules) kernel_probe kernel_uncount self_test self_test_attempts \
	self_test_child self_test_scratch self_test_wire sockets $(policy_modules)
links_bench_wall := $(kernel_modules)
