// SPDX-License-Identifier: BSD-2-Clause
/* Reads a plan back. It was made by us, but lies on a disk: whatever others could have changed is
 * refused, since it decides which of the host's secrets goes to which route. */
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION 1
#define FILE_LIMIT ((size_t)16 << 20)
#define SLUG_LIMIT 48

void plan_free(struct plan *plan)
{
	if (!plan)
		return;
	for (size_t i = 0; i < plan->token_count; i++) {
		free(plan->tokens[i].token_env);
		free(plan->tokens[i].token_ref);
	}
	free(plan->tokens);
	free(plan->bottle);
	free(plan->slug);
	free(plan->directory);
	free(plan->routes_file);
	free(plan->ca_file);
	free(plan->ca_cert_file);
	bytes_free(&plan->routes);
	free(plan->networks.bottle);
	free(plan->networks.sidecar);
	free(plan->upstream_proxy);
	for (size_t i = 0; i < plan->file_count; i++)
		free(plan->files[i]);
	free(plan->files);
	bytes_free(&plan->text);
	free(plan);
}

void plan_digest(struct span routes, char ret[65])
{
	unsigned char digest[EVP_MAX_MD_SIZE];

	if (EVP_Digest(routes.data, routes.length, digest, NULL, EVP_sha256(), NULL) != 1)
		abort();
	for (size_t i = 0; i < 32; i++)
		snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

/* On a network of its own the sidecar would take the host's interfaces for the bottle's wires, and
 * cut off the host, its own veth first. */
const char *plan_networks_problem(const char *bottle, const char *sidecar)
{
	if (strcmp(sidecar, "none") == 0)
		return "a sidecar without a network has no way out; would be right: sidecar: bridge";
	if (strcmp(bottle, "host") == 0 && strcmp(sidecar, "host") != 0)
		return "a bottle on the host's network needs its sidecar there; would be right: {bottle: "
		       "host, sidecar: host}, or bottle: none";
	return NULL;
}

bool plan_wire_open(const char *bottle, const char *sidecar)
{
	return strcmp(bottle, "none") != 0 && strcmp(bottle, "host") != 0 &&
	       strcmp(sidecar, "host") != 0;
}

/* ---- files ---------------------------------------------------------------------------------- */

/* Whoever owns the directory can put any plan there, and so may own the files. */
static int check_file(int fd, int dir_fd, const char *directory, const char *name,
		      struct error *error)
{
	struct stat st, above;

	if (fstat(fd, &st) < 0 || fstat(dir_fd, &above) < 0)
		return error_set(error, "%s/%s: %s", directory, name, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(error, "%s/%s is not a regular file", directory, name);
	if ((st.st_uid != above.st_uid && st.st_uid != geteuid() && st.st_uid != 0) ||
	    ((st.st_mode | above.st_mode) & 022))
		return error_set(error, "%s/%s can be written by others: chmod go-w it and its "
					"directory, and chown it",
				 directory, name);
	if ((size_t)st.st_size > FILE_LIMIT)
		return error_set(error, "%s/%s is larger than 16 MiB", directory, name);
	return 0;
}

static int read_file(int dir_fd, const char *directory, const char *name, struct bytes *ret,
		     struct error *error)
{
	/* O_NONBLOCK: a FIFO in place of the file would hold a start up for ever. The directory's
	 * descriptor: a path that is swapped meanwhile cannot mix two plans. */
	int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), result;

	if (fd < 0)
		return error_set(error, "%s/%s: %s%s", directory, name, strerror(errno),
				 errno == ENOENT ? " ('egress-bpf prepare' makes it)" : "");
	result = check_file(fd, dir_fd, directory, name, error);
	if (result == 0 && bytes_read(ret, fd, FILE_LIMIT) < 0)
		result = error_set(error, "%s/%s cannot be read", directory, name);
	close(fd);
	return result;
}

/* ---- values --------------------------------------------------------------------------------- */

/* Empty is missing. */
static bool take_text(const json_t *object, const char *key, char **ret)
{
	const char *text = json_string_value(json_object_get(object, key));

	*ret = text && *text ? strdup(text) : NULL;
	return *ret != NULL;
}

/* It becomes part of container names and arguments: no leading hyphen, which would be an option. */
static bool is_slug(const char *text)
{
	size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return length > 0 && length <= SLUG_LIMIT && text[length] == '\0' && text[0] != '-';
}

bool plan_is_slot(const char *text)
{
	size_t digits;

	if (strncmp(text, PLAN_SLOT, sizeof(PLAN_SLOT) - 1) != 0)
		return false;
	text += sizeof(PLAN_SLOT) - 1;
	digits = strspn(text, "0123456789");
	return digits > 0 && digits <= 5 && text[digits] == '\0';
}

static bool is_variable(const char *text)
{
	size_t length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				     "0123456789_");

	return length > 0 && length <= 255 && text[length] == '\0' &&
	       !(text[0] >= '0' && text[0] <= '9');
}

static bool has_slot(const struct plan *plan, const char *token_env)
{
	for (size_t i = 0; i < plan->token_count; i++) {
		if (plan->tokens[i].token_env && strcmp(plan->tokens[i].token_env, token_env) == 0)
			return true;
	}
	return false;
}

/* A slot that is there twice would have two tokens. */
static bool take_tokens(const json_t *list, struct plan *plan)
{
	const json_t *entry;
	size_t index;

	if (!json_is_array(list))
		return false;
	plan->tokens = calloc(json_array_size(list) + 1, sizeof(*plan->tokens));
	if (!plan->tokens)
		return false;
	json_array_foreach(list, index, entry) {
		const char *slot = json_string_value(json_object_get(entry, "token_env"));
		struct plan_token *token = &plan->tokens[plan->token_count];

		if (!slot || has_slot(plan, slot))
			return false;
		plan->token_count++;
		if (!take_text(entry, "token_env", &token->token_env) ||
		    !take_text(entry, "token_ref", &token->token_ref) ||
		    !plan_is_slot(token->token_env) || !is_variable(token->token_ref))
			return false;
	}
	return true;
}

static bool take_proxy(const json_t *value, struct plan *plan)
{
	if (json_is_null(value))
		return true;
	plan->upstream_proxy = json_is_string(value) ? strdup(json_string_value(value)) : NULL;
	return plan->upstream_proxy != NULL;
}

static bool is_path(const char *text)
{
	return text && text[0] == '/' && strlen(text) < PATH_MAX;
}

/* Plans of before have none. */
static bool take_files(const json_t *list, struct plan *plan)
{
	const json_t *entry;
	size_t index;

	if (!list)
		return true;
	plan->files = json_is_array(list) ? calloc(json_array_size(list) + 1, sizeof(char *)) : NULL;
	if (!plan->files)
		return false;
	json_array_foreach(list, index, entry) {
		const char *path = json_string_value(entry);

		plan->files[index] = is_path(path) ? strdup(path) : NULL;
		if (!plan->files[index])
			return false;
		plan->file_count++;
	}
	return true;
}

/* NULL, or the key that is missing or wrong. What it cannot be used without; the rest of the file
 * is for scripts. */
static const char *take_values(const json_t *root, struct plan *plan)
{
	const json_t *networks = json_object_get(root, "networks");

	if (!take_text(root, "bottle", &plan->bottle))
		return "bottle";
	if (!take_text(root, "slug", &plan->slug) || !is_slug(plan->slug))
		return "slug";
	if (!take_tokens(json_object_get(root, "tokens"), plan))
		return "tokens";
	if (!take_text(networks, "bottle", &plan->networks.bottle) ||
	    !take_text(networks, "sidecar", &plan->networks.sidecar))
		return "networks";
	if (!take_proxy(json_object_get(root, "upstream_proxy"), plan))
		return "upstream_proxy";
	if (!take_files(json_object_get(root, "files"), plan))
		return "files";
	return NULL;
}

/* An unknown version is refused, not guessed at. */
static int take_plan(struct span text, struct plan *plan, char ret_digest[65], struct error *error)
{
	json_error_t problem;
	/* Readers differ in which of two equal keys they take; nothing here may depend on that. */
	json_t *root = json_loadb(text.data, text.length, JSON_REJECT_DUPLICATES, &problem);
	const char *digest = json_string_value(json_object_get(root, "routes_sha256"));
	const char *key = NULL, *problem_text;
	int result = -1;

	if (!root) {
		error_set(error, "%s/" PLAN_FILE ":%d: not JSON: %s; run 'egress-bpf prepare' again",
			  plan->directory, problem.line, problem.text);
	} else if (json_integer_value(json_object_get(root, "version")) != VERSION) {
		error_set(error, "%s/" PLAN_FILE ": \"version\" is not %d; run 'egress-bpf prepare' "
				 "again",
			  plan->directory, VERSION);
	} else if ((key = take_values(root, plan)) == NULL &&
		   (problem_text = plan_networks_problem(plan->networks.bottle,
							 plan->networks.sidecar))) {
		error_set(error, "%s/" PLAN_FILE ": \"networks\": %s", plan->directory, problem_text);
	} else if (key || !digest || strlen(digest) != 64) {
		error_set(error, "%s/" PLAN_FILE ": \"%s\" is missing or wrong; run 'egress-bpf "
				 "prepare' again",
			  plan->directory, key ? key : "routes_sha256");
	} else {
		memcpy(ret_digest, digest, 65);
		result = 0;
	}
	json_decref(root);
	return result;
}

static bool name_paths(const char *directory, struct plan *plan)
{
	/* Absolute, as the engine's daemon has another working directory. */
	plan->directory = realpath(directory, NULL);
	return plan->directory &&
	       asprintf(&plan->routes_file, "%s/" PLAN_ROUTES, plan->directory) >= 0 &&
	       asprintf(&plan->ca_file, "%s/" PLAN_CA, plan->directory) >= 0 &&
	       asprintf(&plan->ca_cert_file, "%s/" PLAN_CA_CERT, plan->directory) >= 0;
}

/* The routes are kept as they were checked: `start` uses these bytes, not the file again. */
static int read_plan(struct plan *plan, int dir_fd, struct error *error)
{
	char want[65], got[65];

	/* 'prepare' renames the plan last: a crash between its two renames leaves a digest that
	 * does not fit. */
	if (read_file(dir_fd, plan->directory, PLAN_FILE, &plan->text, error) < 0 ||
	    take_plan(bytes_span(&plan->text), plan, want, error) < 0 ||
	    read_file(dir_fd, plan->directory, PLAN_ROUTES, &plan->routes, error) < 0)
		return -1;
	plan_digest(bytes_span(&plan->routes), got);
	if (strcmp(want, got) != 0)
		return error_set(error, "%s is not what " PLAN_FILE " was made with, so its tokens may be "
				 "others; change the manifest and run 'egress-bpf prepare' again",
			  plan->routes_file);
	return 0;
}

int plan_read(const char *directory, struct plan **ret, struct error *error)
{
	struct plan *plan = calloc(1, sizeof(*plan));
	int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), result = -1;

	if (dir_fd < 0)
		error_set(error, "%s: %s", directory, strerror(errno));
	else if (!plan || !name_paths(directory, plan))
		error_set(error, "out of memory");
	else
		result = read_plan(plan, dir_fd, error);
	if (dir_fd >= 0)
		close(dir_fd);
	if (result == 0)
		*ret = plan;
	else
		plan_free(plan);
	return result;
}

int plan_read_ca(const struct plan *plan, struct bytes *ret_ca, struct bytes *ret_cert,
		 struct error *error)
{
	int dir_fd = open(plan->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), result;

	if (dir_fd < 0)
		return error_set(error, "%s: %s", plan->directory, strerror(errno));
	result = read_file(dir_fd, plan->directory, PLAN_CA, ret_ca, error);
	if (result == 0)
		result = read_file(dir_fd, plan->directory, PLAN_CA_CERT, ret_cert, error);
	close(dir_fd);
	return result;
}
