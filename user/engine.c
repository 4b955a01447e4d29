// SPDX-License-Identifier: BSD-2-Clause
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "libcurl.h"

#define REPLY_MAX (16u << 20)
#define CONNECT_MS 3000L

static const struct libcurl *api;

struct engine {
	CURL *handle;
	char *socket;
};

/* ---- opening ---------------------------------------------------------------------------------- */

static const char *without_scheme(const char *address)
{
	return strncmp(address, "unix://", 7) == 0 ? address + 7 : address;
}

const char *engine_find_socket(const char *wanted)
{
	static const char *const usual[] = {"/run/docker.sock", "/var/run/docker.sock",
					    "/run/podman/podman.sock"};
	const char *host = getenv("DOCKER_HOST");

	if (wanted)
		return without_scheme(wanted);
	if (host && *host)
		return without_scheme(host);
	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		if (access(usual[i], F_OK) == 0)
			return usual[i];
	return NULL;
}

bool engine_name_valid(const char *name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789_.-";
	/* It becomes part of a request's path: what has no '/', '?' and '%' needs no escaping. */
	size_t length = strlen(name);

	return length > 0 && length < ENGINE_NAME_SIZE && strspn(name, letters) == length &&
	       !strchr("_.-", name[0]);
}

int engine_open(const char *socket, struct engine **ret, struct error *error)
{
	struct engine *engine;

	if (socket[0] != '/')
		return error_set(error, "'%s' is not an engine's unix socket; would be right: "
				 "/run/docker.sock", socket);
	/* No TLS: all we speak to is a unix socket. */
	if (libcurl_load("container engines", false, &api, error) < 0)
		return -1;
	engine = calloc(1, sizeof(*engine));
	if (engine)
		engine->socket = strdup(socket);
	if (engine && engine->socket)
		engine->handle = api->easy_init();
	if (!engine || !engine->handle) {
		engine_free(engine);
		return error_set(error, "out of memory");
	}
	*ret = engine;
	return 0;
}

void engine_free(struct engine *engine)
{
	if (!engine)
		return;
	if (engine->handle)
		api->easy_cleanup(engine->handle);
	free(engine->socket);
	free(engine);
}

const char *engine_socket(const struct engine *engine)
{
	return engine->socket;
}

/* ---- one request ------------------------------------------------------------------------------ */

static size_t keep_reply(char *data, size_t size, size_t count, void *context)
{
	struct bytes *reply = context;

	/* The socket may be anybody's that DOCKER_HOST names: it must not fill our memory. */
	if (reply->length + size * count > REPLY_MAX || !bytes_append(reply, data, size * count))
		return 0; /* libcurl's word for: break it off */
	return size * count;
}

/* What every request has. The name in the URL is for the Host header alone. */
static bool prepare(struct engine *engine, const char *path, unsigned seconds)
{
	char url[2048];

	if (snprintf(url, sizeof(url), "http://engine%s", path) >= (int)sizeof(url))
		return false;
	/* What the last request set would go along otherwise; the connection is kept. */
	api->easy_reset(engine->handle);
	/* NOPROXY: the caller's http_proxy is for the network, not for the engine's socket. */
	return api->easy_setopt(engine->handle, CURLOPT_URL, url) == CURLE_OK &&
	       api->easy_setopt(engine->handle, CURLOPT_UNIX_SOCKET_PATH, engine->socket) ==
		       CURLE_OK &&
	       api->easy_setopt(engine->handle, CURLOPT_NOPROXY, "*") == CURLE_OK &&
	       api->easy_setopt(engine->handle, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       api->easy_setopt(engine->handle, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS) == CURLE_OK &&
	       api->easy_setopt(engine->handle, CURLOPT_TIMEOUT, (long)seconds) == CURLE_OK;
}

static bool set_body(struct engine *engine, const char *text, struct curl_slist **headers)
{
	*headers = api->slist_append(NULL, "Content-Type: application/json");
	return *headers &&
	       api->easy_setopt(engine->handle, CURLOPT_HTTPHEADER, *headers) == CURLE_OK &&
	       api->easy_setopt(engine->handle, CURLOPT_POSTFIELDSIZE, (long)strlen(text)) ==
		       CURLE_OK &&
	       api->easy_setopt(engine->handle, CURLOPT_POSTFIELDS, text) == CURLE_OK;
}

static int perform(struct engine *engine, long *ret_status, struct bytes *ret, struct error *error)
{
	CURLcode code;

	api->easy_setopt(engine->handle, CURLOPT_WRITEFUNCTION, keep_reply);
	api->easy_setopt(engine->handle, CURLOPT_WRITEDATA, ret);
	code = api->easy_perform(engine->handle);
	if (code == CURLE_OK)
		code = api->easy_getinfo(engine->handle, CURLINFO_RESPONSE_CODE, ret_status);
	if (code == CURLE_OK)
		return 0;
	return error_set(error, "no answer from the engine at %s: %s", engine->socket,
			 api->easy_strerror(code));
}

static int perform_json(struct engine *engine, struct engine_reply *ret, struct error *error)
{
	struct bytes reply = {0};
	int result = perform(engine, &ret->status, &reply, error);
	struct span text = bytes_span(&reply);

	/* A body that is no JSON leaves NULL: 204 has none, and an error's text is then 'no reason
	 * given'. */
	if (result == 0 && text.length)
		ret->body = json_loadb(text.data, text.length, JSON_DECODE_ANY, NULL);
	bytes_free(&reply);
	return result;
}

int engine_call(struct engine *engine, const char *method, const char *path, const json_t *body,
		unsigned seconds, struct engine_reply *ret, struct error *error)
{
	char *text = json_dumps(body, JSON_COMPACT);
	struct curl_slist *headers = NULL;
	struct engine_reply reply = {0};
	int result = -1;

	/* A POST without a body still has a length: of nothing. */
	if (!prepare(engine, path, seconds) || (body && !text) ||
	    (strcmp(method, "POST") == 0 && !set_body(engine, text ? text : "", &headers)) ||
	    api->easy_setopt(engine->handle, CURLOPT_CUSTOMREQUEST, method) != CURLE_OK)
		error_set(error, "%s %s: cannot make the request", method, path);
	else
		result = perform_json(engine, &reply, error);
	if (headers)
		api->slist_free_all(headers);
	free(text);
	if (result == 0)
		*ret = reply;
	return result;
}

int engine_do(struct engine *engine, const char *method, const char *path, const json_t *body,
	      long tolerated, json_t **ret_body, struct error *error)
{
	struct engine_reply reply = {0};
	const char *message;

	if (engine_call(engine, method, path, body, 60, &reply, error) < 0)
		return -1;
	/* 304: it is so already. */
	if (reply.status > 299 && reply.status != 304 && reply.status != tolerated) {
		message = json_string_value(json_object_get(reply.body, "message"));
		error_set(error, "the engine at %s refuses %s %s: %.300s (status %ld)",
			  engine->socket, method, path, message ? message : "no reason given",
			  reply.status);
		json_decref(reply.body);
		return -1;
	}
	if (ret_body)
		*ret_body = reply.body;
	else
		json_decref(reply.body);
	return 0;
}

/* Frames of {stream, 0, 0, 0, length in network order}. */
static bool append_frames(struct span rest, struct bytes *ret)
{
	while (rest.length > 8) {
		const unsigned char *head = (const unsigned char *)rest.data;
		size_t length = (size_t)head[4] << 24 | (size_t)head[5] << 16 |
				(size_t)head[6] << 8 | head[7];

		if (length > rest.length - 8)
			length = rest.length - 8;
		if (!bytes_append(ret, rest.data + 8, length))
			return false;
		rest.data += 8 + length;
		rest.length -= 8 + length;
	}
	return true;
}

void engine_read_errors(struct engine *engine, const char *container, struct bytes *ret)
{
	struct bytes frames = {0};
	char path[256];
	long status = 0;

	/* Without a terminal the engine frames the output; a sidecar never has one. */
	snprintf(path, sizeof(path), "/containers/%s/logs?stderr=1&tail=20", container);
	if (prepare(engine, path, 10) && perform(engine, &status, &frames, NULL) == 0 &&
	    status == 200)
		(void)append_frames(bytes_span(&frames), ret);
	bytes_free(&frames);
}

/* ---- waiting for news ------------------------------------------------------------------------- */

static size_t note_octets(char *data, size_t size, size_t count, void *context)
{
	bool *seen = context;

	(void)data;
	/* What the event says is not read: whoever waits looks at the container again, which is
	 * true at that time. */
	*seen = true;
	return size * count;
}

static void follow(CURLM *multi, int stop_fd, unsigned seconds, const bool *seen)
{
	struct curl_waitfd stop = {.fd = stop_fd, .events = CURL_WAIT_POLLIN};
	const time_t end = time(NULL) + (time_t)seconds;
	int running = 1;

	while (api->multi_perform(multi, &running) == CURLM_OK && running > 0 && !*seen &&
	       time(NULL) < end && !(stop.revents & CURL_WAIT_POLLIN))
		if (api->multi_poll(multi, &stop, stop_fd >= 0, 1000, NULL) != CURLM_OK)
			break;
}

void engine_follow(struct engine *engine, const char *path, int stop_fd, unsigned seconds)
{
	CURLM *multi = api->multi_init();
	bool seen = false;

	if (multi && prepare(engine, path, seconds + 1) &&
	    api->easy_setopt(engine->handle, CURLOPT_WRITEFUNCTION, note_octets) == CURLE_OK &&
	    api->easy_setopt(engine->handle, CURLOPT_WRITEDATA, &seen) == CURLE_OK &&
	    api->multi_add_handle(multi, engine->handle) == CURLM_OK) {
		follow(multi, stop_fd, seconds, &seen);
		api->multi_remove_handle(multi, engine->handle);
	}
	if (multi)
		api->multi_cleanup(multi);
}
