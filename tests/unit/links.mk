# SPDX-License-Identifier: BSD-2-Clause
# The modules that each unit test links, and no more.
links_test_bytes := bytes
links_test_address := address
links_test_policy := policy policy_path policy_host bytes diag address reason
links_test_rpc := rpc bytes
links_test_stream := stream
links_test_cert_authority := cert_authority bytes diag
links_test_leaf_cache := leaf_cache cert_authority bytes diag
links_test_identify := identify address
