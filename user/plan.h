/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bottle's plan: the directory that `prepare` makes and `start` reads.
 *
 *   routes.yaml  0600  the policy; names slots (EGRESS_TOKEN_0), no secret, no host variable
 *   ca.pem       0600  the bottle's CA with its key
 *   ca-cert.pem  0644  its certificate, for the bottle to trust
 *   plan.json    0644  {"version": 1, "bottle": "My agent", "slug": "my-agent",
 *                       "paths": {"directory", "routes", "ca", "ca_cert"},
 *                       "routes": [{"host" or "cidr", "from": "provider" or "manifest", "role",
 *                                   "token_env"}],
 *                       "tokens": [{"token_env": "EGRESS_TOKEN_0", "token_ref": "GITHUB_TOKEN"}],
 *                       "networks": {"bottle": "none", "sidecar": "bridge"},
 *                       "upstream_proxy": "http://pipelock:8888" or null,
 *                       "files": ["/etc/egress/pipelock.pem"],
 *                       "routes_sha256": hexadecimal}
 *
 * "paths" is for scripts; we take the files of the directory that we read. The digest ties the token
 * map to the routes: a slot must never carry the token of an older plan.
 */
#ifndef PLAN_H
#define PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "attributes.h"
#include "bytes.h"
#include "diag.h"

#define PLAN_ROUTES "routes.yaml"
#define PLAN_CA "ca.pem"
#define PLAN_CA_CERT "ca-cert.pem"
#define PLAN_FILE "plan.json"
#define PLAN_SLOT "EGRESS_TOKEN_" /* and a number */

/* The name becomes a variable of the sidecar's environment: any other one could be PATH, or
 * LD_PRELOAD. */
bool plan_is_slot(const char *text);

/* The sidecar finds the value of the host's variable `token_ref` under the name `token_env`. */
struct plan_token {
	char *token_env; /* "EGRESS_TOKEN_N" */
	char *token_ref; /* a variable of the host: read by `start` only, never shown to the bottle */
};
struct plan {
	char *bottle; /* as the manifest names it */
	char *slug;   /* 1 to 48 of a-z 0-9 -: fit for names of containers and walls */
	char *directory; /* absolute; also what `run --ca-dir` takes */
	char *routes_file, *ca_file, *ca_cert_file; /* absolute, in `directory` */
	struct bytes routes;			    /* the content of `routes_file`: as checked */
	struct plan_token *tokens;
	size_t token_count;
	struct {
		char *bottle;  /* Docker's word: "none" (wall 0), or the network the bottle is on */
		char *sidecar; /* the network that leads out, to origins or to the upstream proxy */
	} networks;
	char *upstream_proxy; /* "http://HOST:PORT" or NULL */
	char **files;	      /* absolute; of the host, which the routes name: CAs, client certificates */
	size_t file_count;
	struct bytes text; /* the content of plan.json */
};

/* Reads DIR/plan.json and routes.yaml. -1 with `error` set: not a plan, of another version, a file
 * that others may write, or routes that are not those the plan was made with. */
int plan_read(const char *directory, struct plan **ret, struct error *error) WARN_UNUSED;
void plan_free(struct plan *plan);
/* The CA's two files, checked as those are; append to `ret_ca`, which is to be wiped for its key, and
 * `ret_cert`. */
int plan_read_ca(const struct plan *plan, struct bytes *ret_ca, struct bytes *ret_cert,
		 struct error *error) WARN_UNUSED;

/* NULL, or why these two of the engine's networks do not go together, with the cure. */
const char *plan_networks_problem(const char *bottle, const char *sidecar);
/* Whether the wire of a bottle on that network is out of such a sidecar's reach: then only the kernel
 * programs hold it. */
bool plan_wire_open(const char *bottle, const char *sidecar);

/* The digest for "routes_sha256". */
void plan_digest(struct span routes, char ret[65]);

#endif
