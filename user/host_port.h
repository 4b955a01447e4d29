/* SPDX-License-Identifier: BSD-2-Clause */
/* A port of the host's loopback that is reachable inside the bottle, by the operator's word. */
#ifndef HOST_PORT_H
#define HOST_PORT_H

#include <stdint.h>

#include "attributes.h"
#include "diag.h"

#define HOST_PORT_MAX 8
#define HOST_PORT_NAME "host-loopback" /* in the log, where other records have a host */
#define HOST_PORT_TEXT_SIZE 16

struct host_port {
	uint16_t inside;  /* 127.0.0.1:inside in the bottle leads to */
	uint16_t outside; /* 127.0.0.1:outside on the host */
};

/* "N" or "N:M", inside first. */
int host_port_parse(const char *text, struct host_port *ret, struct error *error) WARN_UNUSED;
void host_port_format(const struct host_port *host_port, char ret_text[HOST_PORT_TEXT_SIZE]);

#endif
