/* SPDX-License-Identifier: BSD-2-Clause */
/* A container engine's HTTP API on its unix socket: Docker's, and Podman's where it is compatible
 * (Docker Engine API 1.41). Spoken by libcurl, which is loaded when it is first needed: it brings
 * fourteen libraries that neither `exec` nor a sidecar should map. */
#ifndef ENGINE_H
#define ENGINE_H

#include <jansson.h>
#include <stdbool.h>

#include "attributes.h"
#include "bytes.h"
#include "diag.h"

#define ENGINE_NAME_SIZE 128

struct engine;

/* The socket to use: `wanted`, else DOCKER_HOST, else the first of Docker's and Podman's usual ones
 * that exists. NULL when there is none; `wanted` and DOCKER_HOST may begin with "unix://". Borrowed
 * from the arguments, the environment, or constant. */
const char *engine_find_socket(const char *wanted);
/* Connects at the first call only. Fails when libcurl is not there. */
int engine_open(const char *socket, struct engine **ret, struct error *error) WARN_UNUSED;
void engine_free(struct engine *engine);
const char *engine_socket(const struct engine *engine);

/* "NAME" as engines allow it, an ID too: [A-Za-z0-9][A-Za-z0-9_.-]*, shorter than
 * ENGINE_NAME_SIZE. Safe in a request's path. */
bool engine_name_valid(const char *name);

struct engine_reply {
	long status;  /* of HTTP */
	json_t *body; /* NULL when there was none, or it was no JSON; the caller's */
};
/* One request, at most `seconds` long. `body` may be NULL. -1: no answer; an answer that says no is
 * 0 as well. */
int engine_call(struct engine *engine, const char *method, const char *path, const json_t *body,
		unsigned seconds, struct engine_reply *ret, struct error *error) WARN_UNUSED;
/* The same, for calls that are to succeed: a status past 299 is an error with the engine's words,
 * but for 304, "so it is already", and `tolerated` (0: none). `ret_body` may be NULL. */
int engine_do(struct engine *engine, const char *method, const char *path, const json_t *body,
	      long tolerated, json_t **ret_body, struct error *error) WARN_UNUSED;
/* What a container has written to its standard error, without the frames; to be shown, not to be
 * trusted. Empty when there is nothing to be had. */
void engine_read_errors(struct engine *engine, const char *container, struct bytes *ret);
/* Follows GET `path` until its first octet, its end, `seconds`, or until `stop_fd` can be read. */
void engine_follow(struct engine *engine, const char *path, int stop_fd, unsigned seconds);

#endif
