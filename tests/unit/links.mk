# SPDX-License-Identifier: BSD-2-Clause
# The modules that each unit test links, and no more.
links_test_bytes := bytes
links_test_arena := arena
links_test_address := address
policy_modules := policy policy_table policy_path policy_host policy_decide policy_override policy_secret policy_strip \
	policy_hint policy_client client_cert policy_describe policy_effective policy_audit policy_advice arena bytes diag address reason
config_modules := config config_tree config_keys config_values config_route config_upstream \
	config_secrets config_effective $(policy_modules)
tls_provider := tls_provider tls_provider_kdf tls_provider_gcm tls_provider_x25519 tls_provider_clients tls_provider_random \
	tls_provider_hash tls_provider_hmac
links_test_reason := reason
links_test_policy := $(policy_modules)
links_test_config := $(config_modules)
links_test_config_memory := $(config_modules)
links_test_metrics_serve := metrics_serve acceptor acceptor_http stop_signals sockets host_port address bytes diag
links_test_policy_diff := policy_diff policy_diff_cidr policy_space $(config_modules)
links_test_config_expect := config_expect question $(config_modules)
links_test_learn := learn learn_paths journal $(config_modules)
links_test_journal := journal reason diag
links_test_rpc := rpc bytes
links_test_plan := plan bytes diag
links_test_stream := stream stream_tls tally bytes
links_test_http1_body := http1_body http1_head stream stream_tls tally bytes
links_test_client_hello := client_hello $(policy_modules)
links_test_background := background
links_test_server_heap := server_heap stream stream_tls tally bytes
links_test_listener := listener acceptor
links_test_loop := loop
links_test_server_memfd := server_memfd $(config_modules)
links_test_server_retired := server_retired background $(config_modules)
links_test_cert_authority := cert_authority roots bytes diag
links_test_tls_provider := $(tls_provider)
links_test_tls_provider_x25519 := $(tls_provider)
links_test_tls_provider_clients := $(tls_provider)
links_test_tls_provider_hmac := $(tls_provider)
links_test_tls_provider_random := $(tls_provider)
links_test_tls_provider_start := $(tls_provider)
links_test_leaf_cache := leaf_cache ciphers $(tls_provider) session_cache tickets cert_authority roots bytes diag
links_test_session_cache := session_cache
links_test_identify := identify sockets address bytes diag
links_test_worker := worker host_port rpc bytes diag
links_test_privileges_calls := privileges_calls diag
links_test_worker_uid := worker_uid diag
links_test_host_port := host_port diag
links_test_sockets := sockets address diag
links_test_ledger := ledger ledger_shared $(config_modules)
links_test_dns_respond := dns_message dns_respond address bytes
links_test_dns_responder := dns_responder dns_tcp acceptor dns_message dns_respond address bytes
links_test_bottle_routes := bottle_routes bytes diag
links_test_bottle_environment := bottle_environment trust_variables
links_test_roots := roots bytes diag
links_test_trust := trust trust_jks bytes diag
links_test_bottle_janitor := bottle_janitor kernel kernel_pins kernel_links kernel_tc kernel_wire kernel_btf kernel_root kernel_unix kernel_unix_doors kernel_maps \
	kernel_events kernel_status cgroup address diag
links_test_pin_directories := kernel_pins kernel kernel_links kernel_tc kernel_wire kernel_btf kernel_root kernel_unix kernel_unix_doors kernel_maps \
	kernel_events kernel_status cgroup address diag
links_test_bottle_summary := bottle_summary reason refusal
links_test_bottle_seccomp := bottle_seccomp diag
links_test_bottle_broker_target := bottle_broker_target
links_test_bottle := bottle bottle_init bottle_plan bottle_mounts bottle_sockets bottle_files \
	bottle_broker bottle_broker_calls bottle_broker_names bottle_broker_target \
	bottle_privileges bottle_environment trust_variables bottle_seccomp bottle_user sockets address trust trust_jks bytes diag
http1_modules := http1 http1_exchange http1_judge http1_local http1_requests ask refusal http1_target http1_forward http1_upgrade http1_head \
	http1_body http1_refusal
h2_modules := h2 h2_flood h2_memory h2_rest h2_room h2_stream h2_head websocket
connection_modules := connection connection_pressure feed connection_tls client_hello tunnel stream stream_tls tally http2 $(h2_modules) \
	$(http1_modules) \
	$(policy_modules)
links_test_http1_head := http1_head bytes
links_test_http1_exchange := $(connection_modules)
links_test_http1_early := $(connection_modules)
links_fuzz_exchange := $(links_test_http1_exchange)
links_test_connection := $(connection_modules)
links_test_tunnel := $(connection_modules)
links_test_access_log := access_log feed refusal verdicts address bytes diag reason
links_test_feed := feed_merge feed
links_test_shares := shares bytes
links_test_tickets := tickets
links_test_events := events ask refusal control_client bytes diag
links_test_ui_guard := ui_guard
links_test_ui_http := ui_http acceptor acceptor_http ui_guard
links_fuzz_events := $(links_test_events)
links_fuzz_feed := feed feed_merge pending refusal bytes
links_fuzz_dns := dns_message dns_respond address bytes
links_fuzz_dns_tcp := upstream_dns_tcp stream stream_tls tally address bytes
links_fuzz_rpc := rpc bytes
upstream_modules := upstream upstream_request upstream_way upstream_resolver upstream_hosts upstream_dial \
	upstream_tls roots $(tls_provider) ciphers \
	upstream_pool loop upstream_line upstream_look upstream_proxy upstream_dns_tcp upstream_h2 client_cert $(h2_modules) http1_head stream stream_tls tally address bytes diag
links_test_upstream_line := upstream_line upstream_pool loop stream stream_tls tally bytes
links_test_upstream_pool := upstream_pool loop stream stream_tls tally bytes
links_test_upstream_h2 := upstream_h2 upstream_pool loop stream stream_tls tally bytes
links_test_upstream_resolver := upstream_resolver upstream_dns_tcp stream stream_tls tally upstream_hosts address bytes diag
links_test_upstream := $(upstream_modules) cert_authority
links_test_upstream_proxy := upstream_proxy upstream_tls roots $(tls_provider) ciphers client_cert http1_head stream stream_tls tally address bytes diag
links_fuzz_proxy_answer := $(links_test_upstream_proxy)
-include tests/kernel/links.mk
links_fuzz_learn := $(links_test_learn)
links_fuzz_config := $(config_modules)
links_fuzz_decide := $(config_modules)
links_fuzz_http1 := http1_head bytes
links_fuzz_http1_body := http1_body http1_head bytes
links_fuzz_hello := client_hello $(policy_modules)
links_fuzz_upgrade := http1_upgrade websocket http1_head bytes
links_fuzz_target := http1_target http1_forward http1_head $(policy_modules)
links_count := $(sort $(config_modules) http1_head http1_forward http1_target dns_message dns_respond)
links_test_ready := ready diag
plan_modules := plan plan_make plan_manifest plan_routes plan_auth plan_owners plan_render plan_write cert_authority roots \
	$(config_modules)
links_test_plan_make := $(plan_modules)
links_test_engine := engine libcurl bytes diag
links_test_container := container engine libcurl cgroup bytes diag
links_test_node := node_tree node_pods node_state json_text cgroup bytes diag
links_fuzz_pods := node_pods node_tree cgroup bytes diag
links_test_provision := provision provision_nss provision_text rootfs trust trust_jks cert_authority roots bytes diag
links_fuzz_plan := $(filter-out plan_write cert_authority roots,$(plan_modules))
links_fuzz_http2 := $(h2_modules) http1_head bytes
links_fuzz_h2_origin := upstream_h2 upstream_pool loop $(h2_modules) http1_upgrade http1_head stream stream_tls tally bytes
links_test_http2 := http2 $(h2_modules) http1_head stream stream_tls tally bytes
links_test_h2 := $(h2_modules) http1_head stream stream_tls tally bytes
grant_modules := grant grant_persist config_edit config_replace policy_permit policy_diff policy_diff_cidr \
	policy_space $(config_modules)
links_test_grant := $(grant_modules)
links_test_pending := pending pending_ids refusal ask bytes
