// SPDX-License-Identifier: BSD-2-Clause
#include "trust_variables.h"

const char *const trust_variables[] = {
	"SSL_CERT_FILE",
	"NODE_EXTRA_CA_CERTS",
	"REQUESTS_CA_BUNDLE",
	"CURL_CA_BUNDLE",
	"GIT_SSL_CAINFO",
	"PIP_CERT",
	"CARGO_HTTP_CAINFO",
	"DENO_CERT",
	"AWS_CA_BUNDLE",
	/* These bring roots along, and do not look at the system's. */
	"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
	"HTTPLIB2_CA_CERTS",
	"HEX_CACERTS_PATH",
	"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
};
const size_t trust_variable_count = sizeof(trust_variables) / sizeof(trust_variables[0]);
