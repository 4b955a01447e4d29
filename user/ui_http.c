// SPDX-License-Identifier: BSD-2-Clause
/* The process without rights: HTTP on loopback for one browser. */
#include "ui_private.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/keyvalq_struct.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <unistd.h>

#include "acceptor.h"
#include "ui_ask.h"
#include "ui_confine.h"
#include "ui_files.h"

#define TIMEOUT_S 10
#define BODY_MAX 4096
#define HEADERS_MAX 16384
#define IDLE_CHECK_S 2

/* ---- what every answer has ------------------------------------------------------------------------ */

/* Nothing from elsewhere, nothing inline, no text that becomes markup, and nobody's frame: what is shown
 * was chosen by code that nobody should have to trust. */
static const struct {
	const char *name, *value;
} headers[] = {
	{"Content-Security-Policy",
	 "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
	 "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
	 "require-trusted-types-for 'script'; trusted-types 'none'"},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "DENY"},
	{"Referrer-Policy", "no-referrer"},
	{"Cache-Control", "no-store"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"Permissions-Policy", "camera=(), geolocation=(), microphone=()"},
};

void ui_http_add_headers(struct evhttp_request *request, const char *type)
{
	struct evkeyvalq *out = evhttp_request_get_output_headers(request);

	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
		evhttp_add_header(out, headers[i].name, headers[i].value);
	evhttp_add_header(out, "Content-Type", type);
}

void ui_http_reply(struct evhttp_request *request, int status, const char *type,
		   struct evbuffer *body)
{
	ui_http_add_headers(request, type);
	evhttp_send_reply(request, status, NULL, body);
	if (body)
		evbuffer_free(body);
}

void ui_http_reply_error(struct evhttp_request *request, int status, const char *text)
{
	json_t *object = json_pack("{s:s}", "error", text);
	char *line = object ? json_dumps(object, JSON_COMPACT) : NULL;
	struct evbuffer *body = evbuffer_new();

	if (body && line)
		evbuffer_add_printf(body, "%s\n", line);
	free(line);
	json_decref(object);
	ui_http_reply(request, status, "application/json", body);
}

/* ---- what is there --------------------------------------------------------------------------------- */

typedef void (*handler_fn)(struct ui_http *http, struct evhttp_request *request,
			   const char *command);

static void ask(struct ui_http *http, struct evhttp_request *request, json_t *question)
{
	struct error error = {0};
	int fd = ui_ask(http->pair, question, &error);

	if (fd < 0)
		ui_http_reply_error(request, HTTP_SERVUNAVAIL, error.text);
	else
		ui_exchange_answer(http, request, fd);
}

static void get(struct ui_http *http, struct evhttp_request *request, const char *command)
{
	ask(http, request, json_pack("{s:s}", "command", command));
}

/* The body is the request to the sidecar but for its command. */
static void post(struct ui_http *http, struct evhttp_request *request, const char *command)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(request);
	const char *text = (const char *)evbuffer_pullup(in, -1);
	json_t *question = json_loadb(text ? text : "", evbuffer_get_length(in),
				      JSON_REJECT_DUPLICATES, NULL);

	/* Set over whatever command the body names: the resource says what may be asked. */
	if (json_is_object(question) &&
	    json_object_set_new(question, "command", json_string(command)) == 0) {
		ask(http, request, question);
		return;
	}
	json_decref(question);
	ui_http_reply_error(request, HTTP_BADREQUEST, "the body is an object of JSON");
}

/* All there is to see, from the oldest verdict that the sidecar still has. */
static void stream(struct ui_http *http, struct evhttp_request *request, const char *command)
{
	struct error error = {0};
	int fd = ui_ask(http->pair, json_pack("{s:s, s:b, s:i}", "command", command, "follow", 1,
					      "since", 1), &error);

	if (fd < 0)
		ui_http_reply_error(request, HTTP_SERVUNAVAIL, error.text);
	else
		ui_exchange_stream(http, request, fd);
}

/* The token, for a cookie and a key. */
static void open_session(struct ui_http *http, struct evhttp_request *request, const char *command)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(request), *body = evbuffer_new();
	char token[UI_SECRET_SIZE] = "", cookie[128];

	(void)command;
	if (evbuffer_get_length(in) < sizeof(token))
		evbuffer_remove(in, token, sizeof(token) - 1);
	if (!body || !ui_session_exchange(&http->session, token)) {
		if (body)
			evbuffer_free(body);
		ui_http_reply_error(request, 401, "this link was used, or is none of ours");
		return;
	}
	/* HttpOnly: a script on our page cannot read it out. Strict: no other site's link sends it.
	 * Not Secure, for loopback speaks plain HTTP. */
	snprintf(cookie, sizeof(cookie), "%s=%s; Path=/; HttpOnly; SameSite=Strict",
		 http->session.cookie_name, http->session.cookie);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Set-Cookie", cookie);
	evbuffer_add_printf(body, "{\"key\":\"%s\"}\n", http->session.key);
	ui_http_reply(request, HTTP_OK, "application/json", body);
}

static const struct resource {
	const char *path;
	handler_fn handle;
	const char *command;
	enum evhttp_cmd_type method;
	bool open; /* without a session */
} resources[] = {
	{"/api/session", open_session, NULL, EVHTTP_REQ_POST, true},
	{"/api/events", stream, "events", EVHTTP_REQ_GET, false},
	{"/api/status", get, "status", EVHTTP_REQ_GET, false},
	{"/api/policy", get, "policy", EVHTTP_REQ_GET, false},
	{"/api/pending", get, "pending", EVHTTP_REQ_GET, false},
	{"/api/why", post, "why", EVHTTP_REQ_POST, false},
	{"/api/allow", post, "allow", EVHTTP_REQ_POST, false},
	{"/api/deny", post, "deny", EVHTTP_REQ_POST, false},
};

static void serve_file(struct evhttp_request *request, const struct ui_file *file)
{
	struct evbuffer *body = evbuffer_new();
	struct span text = bytes_span(&file->text);

	/* By reference: the files are read once and live as long as the process. */
	if (body)
		evbuffer_add_reference(body, text.data, text.length, NULL, NULL);
	ui_http_reply(request, HTTP_OK, file->type, body);
}

/* ---- who asks -------------------------------------------------------------------------------------- */

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

/* False: it is there twice, and who would judge by the first and use the second? */
static bool only(const struct evkeyvalq *in, const char *name, const char **ret)
{
	const struct evkeyval *header;

	*ret = NULL;
	TAILQ_FOREACH(header, in, next) {
		if (strcasecmp(header->key, name) != 0)
			continue;
		if (*ret)
			return false;
		*ret = header->value;
	}
	return true;
}

static bool read_headers(struct evhttp_request *request, struct ui_headers *ret)
{
	const struct evkeyvalq *in = evhttp_request_get_input_headers(request);

	return only(in, "Host", &ret->host) && only(in, "Origin", &ret->origin) &&
	       only(in, "Sec-Fetch-Site", &ret->fetch_site) && only(in, "Cookie", &ret->cookie) &&
	       only(in, "X-Egress-Key", &ret->key);
}

static void serve_resource(struct ui_http *http, struct evhttp_request *request,
			   const struct resource *resource, const struct ui_headers *given)
{
	bool changes = resource->method == EVHTTP_REQ_POST;

	if (!ui_guard_site(&http->session, given, changes)) {
		ui_http_reply_error(request, 403, "this is for our own page alone");
	} else if (!resource->open && !ui_guard_session(&http->session, given)) {
		ui_http_reply_error(request, 401,
				    "no session: start 'egress-bpf ui' again for another link");
	} else {
		if (!resource->open)
			http->seen = now();
		resource->handle(http, request, resource->command);
	}
}

/* The target as it was sent, to the byte: there is nothing to decode. */
static void on_request(struct evhttp_request *request, void *context)
{
	struct ui_http *http = context;
	const char *path = evhttp_request_get_uri(request);
	enum evhttp_cmd_type method = evhttp_request_get_command(request);
	const struct ui_file *file = method == EVHTTP_REQ_GET ? ui_files_find(path) : NULL;
	struct ui_headers given;

	if (!read_headers(request, &given)) {
		ui_http_reply_error(request, HTTP_BADREQUEST, "a header is there twice");
		return;
	}
	/* Before anything else, files included: a name that was rebound to 127.0.0.1 makes us its
	 * own origin to a browser. */
	if (!ui_guard_host(&http->session, &given)) {
		ui_http_reply_error(request, 403, "that is not our name");
		return;
	}
	if (file) {
		serve_file(request, file);
		return;
	}
	for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++) {
		if (strcmp(path, resources[i].path) == 0 && method == resources[i].method) {
			serve_resource(http, request, &resources[i], &given);
			return;
		}
	}
	ui_http_reply_error(request, HTTP_NOTFOUND, "there is no such thing");
}

/* ---- life ------------------------------------------------------------------------------------------ */

static void on_idle_check(evutil_socket_t fd, short what, void *context)
{
	struct ui_http *http = context;

	(void)fd;
	(void)what;
	/* A page that is open holds a stream, also while nothing happens. */
	if (http->streams > 0)
		http->seen = now();
	else if (now() - http->seen >= (time_t)http->idle_s)
		_exit(UI_EXIT_IDLE);
}

static bool listen_with(struct ui_http *http, int fd)
{
	struct evhttp *server = evhttp_new(http->base);

	if (!server || acceptor_http(server, fd) < 0)
		return false;
	evhttp_set_gencb(server, on_request, http);
	/* Any other method, OPTIONS too, libevent refuses: no preflight of another site
	 * succeeds. */
	evhttp_set_allowed_methods(server, EVHTTP_REQ_GET | EVHTTP_REQ_POST);
	evhttp_set_max_headers_size(server, HEADERS_MAX);
	evhttp_set_max_body_size(server, BODY_MAX);
	/* When descriptors run out, those who hold them without a word lose them by this. */
	evhttp_set_timeout(server, TIMEOUT_S);
	return true;
}

void ui_http_run(struct ui_http *http, int listener, pid_t parent)
{
	const struct timeval often = {IDLE_CHECK_S, 0};
	struct event *check;

	/* Before the first byte of anybody. */
	if (!ui_confine(parent))
		_exit(1);
	http->seen = now();
	http->base = event_base_new();
	check = http->base ? event_new(http->base, -1, EV_PERSIST, on_idle_check, http) : NULL;
	if (check && event_add(check, &often) == 0 && listen_with(http, listener) &&
	    send(http->pair, "!", 1, MSG_NOSIGNAL) == 1)
		event_base_dispatch(http->base);
	_exit(1);
}
