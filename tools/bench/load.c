// SPDX-License-Identifier: BSD-2-Clause
/* load [-c CLIENTS] [-d SECONDS] [-n] [-f] [-b ADDRESS] [-H HEADER]... HOST PORT PATH: so many clients
 * ask for https://HOST:PORT/PATH as fast as answers come.
 *   -n  a new connection for each request, resumed by the last one's ticket
 *   -f  a new connection for each request, with a full handshake
 *   -b  from this IPv4 address: to one port there are no more than some 28,000 connections from one
 * Each client makes one request first, few at a time. Then "ready" is printed and the process stops itself: what
 * counts begins with SIGCONT. No request is begun after SECONDS, but all that were begun are waited
 * for, so that what they cost and their number belong together. The result is one line of KEY=VALUE;
 * after it the process stops itself again, connections still open, and ends with the next SIGCONT. */
#include <errno.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 2000000 /* a microsecond each; what took longer is in the last one */
#define PATIENCE_NS 10000000000ull
#define WARMING 64 /* clients at a time that make their first request */
#define WARMING_NS 200000000ull /* so long each may take, on a busy machine */

enum state {
	IDLE,       /* has no connection, or one that waits for the measuring to begin */
	CONNECTING, /* TCP or TLS handshake */
	SENDING,
	RECEIVING,
	ENDING, /* the whole response is here; the server is to close */
};

struct client {
	enum state state;
	int fd;
	SSL *ssl;
	SSL_SESSION *session;
	uint64_t began;
	size_t head; /* octets of the head so far; body octets are only counted */
	long left;   /* of the body; -1: the head is not complete */
	char buffer[8193];
};

static int count = 1, epoll_fd, running;
static double seconds = 3;
static bool anew, full, measuring, over;
static struct addrinfo *server;
static struct sockaddr_in from; /* no family: from any */
static const char *host;
static char request[4096];
static SSL_CTX *context;
static uint32_t *slots;
static unsigned long requests, errors, connections, resumed;
static uint64_t longest;
static char last_error[128] = "none", spoken[64] = "none";

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct client *client = SSL_get_app_data(ssl);

	SSL_SESSION_free(client->session);
	client->session = session;
	return 1;
}

static void hang_up(struct client *client)
{
	if (client->ssl) {
		/* Also says that the session may be resumed. */
		SSL_shutdown(client->ssl);
		SSL_free(client->ssl);
		close(client->fd);
	}
	client->ssl = NULL;
}

static void begin(struct client *client)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};
	int one = 1;

	running++;
	client->head = 0;
	client->left = -1;
	client->began = now();
	if (client->ssl) {
		client->state = SENDING;
		return;
	}
	client->state = CONNECTING;
	client->fd = socket(server->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		die("socket");
	setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (from.sin_family && bind(client->fd, (struct sockaddr *)&from, sizeof(from)) < 0)
		die("bind");
	if (connect(client->fd, server->ai_addr, server->ai_addrlen) < 0 && errno != EINPROGRESS)
		die("connect");
	client->ssl = SSL_new(context);
	SSL_set_fd(client->ssl, client->fd);
	SSL_set_app_data(client->ssl, client);
	SSL_set_tlsext_host_name(client->ssl, host);
	SSL_set_connect_state(client->ssl);
	if (client->session && !full)
		SSL_set_session(client->ssl, client->session);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client->fd, &event) < 0)
		die("epoll_ctl");
}

/* What there was to do is done, or failed. */
static void end(struct client *client, const char *error)
{
	running--;
	client->state = IDLE;
	if (error) {
		errors++;
		snprintf(last_error, sizeof(last_error), "%s", error);
	}
	if (error || anew)
		hang_up(client);
}

static void answered(struct client *client)
{
	uint64_t took = (now() - client->began) / 1000;

	if (measuring) {
		requests++;
		slots[took < SLOTS ? took : SLOTS - 1]++;
		longest = took > longest ? took : longest;
	}
	client->state = ENDING;
}

static void connected(struct client *client)
{
	client->state = SENDING;
	connections += measuring;
	resumed += measuring && SSL_session_reused(client->ssl);
	snprintf(spoken, sizeof(spoken), "%s,%s", SSL_get_version(client->ssl),
		 SSL_get_cipher(client->ssl));
}

/* Returns NULL, or what is wrong with the response. */
static const char *take(struct client *client, size_t length)
{
	char *end_of_head, *field;

	if (client->left >= 0) {
		client->left -= (long)length;
		return client->left < 0 ? "more than Content-Length" : NULL;
	}
	client->head += length;
	client->buffer[client->head] = '\0';
	end_of_head = strstr(client->buffer, "\r\n\r\n");
	if (!end_of_head)
		return client->head < sizeof(client->buffer) - 1 ? NULL : "long head";
	if (strncmp(client->buffer, "HTTP/1.1 200 ", 13) != 0)
		return "not 200";
	field = strcasestr(client->buffer, "\r\nContent-Length:");
	if (!field || field > end_of_head)
		return "no Content-Length";
	client->left = atol(field + 17) - (long)(client->buffer + client->head - end_of_head - 4);
	return client->left < 0 ? "more than Content-Length" : NULL;
}

static int receive(struct client *client)
{
	bool head = client->left < 0;
	size_t room = sizeof(client->buffer) - 1 - (head ? client->head : 0);
	int result = SSL_read(client->ssl, client->buffer + (head ? client->head : 0), (int)room);
	const char *wrong;

	if (result <= 0)
		return result;
	wrong = take(client, (size_t)result);
	if (wrong)
		end(client, wrong);
	else if (client->left == 0)
		answered(client);
	return result;
}

/* One step; what OpenSSL returned, as SSL_get_error() wants it. */
static int step(struct client *client)
{
	char scrap[512];
	int result;

	switch (client->state) {
	case CONNECTING:
		result = SSL_do_handshake(client->ssl);
		if (result == 1)
			connected(client);
		return result;
	case SENDING:
		result = SSL_write(client->ssl, request, (int)strlen(request));
		if (result > 0)
			client->state = RECEIVING;
		return result;
	case RECEIVING:
		return receive(client);
	default:
		return SSL_read(client->ssl, scrap, sizeof(scrap));
	}
}

static void drive(struct client *client)
{
	while (client->state != IDLE) {
		int result, error;

		if (client->state == ENDING && !anew) {
			end(client, NULL);
			if (measuring && !over)
				begin(client);
			continue;
		}
		ERR_clear_error();
		errno = 0;
		result = step(client);
		if (result > 0)
			continue;
		error = SSL_get_error(client->ssl, result);
		if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
			return;
		/* However the server ends it. */
		if (client->state == ENDING)
			end(client, NULL);
		else
			end(client, error == SSL_ERROR_SYSCALL && errno ? strerror(errno) :
				    error == SSL_ERROR_SSL ? "TLS" : "early end");
		if (measuring && !over)
			begin(client);
	}
}

static void loop(struct client *clients, uint64_t until)
{
	struct epoll_event events[256];
	int next = 0;

	over = now() >= until;
	while (running > 0 || next < count) {
		uint64_t t;
		int found;

		for (; next < count && (measuring || running < WARMING); next++) {
			begin(&clients[next]);
			drive(&clients[next]);
		}
		found = epoll_wait(epoll_fd, events, 256, 100);
		t = now();

		over = t >= until;
		for (int i = 0; i < found; i++)
			drive(events[i].data.ptr);
		if (t < until + PATIENCE_NS)
			continue;
		errors += (unsigned long)running;
		snprintf(last_error, sizeof(last_error), "no answer");
		return;
	}
}

static double quantile(double part)
{
	unsigned long seen = 0;

	for (size_t i = 0; i < SLOTS; i++) {
		seen += slots[i];
		if (seen > 0 && (double)seen >= part * (double)requests)
			return (double)i;
	}
	return 0;
}

static void pause_here(const char *line)
{
	puts(line);
	fflush(stdout);
	raise(SIGSTOP);
}

static void make_request(const char *path, const char *more)
{
	int length = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n", path,
			      host, more, anew ? "Connection: close\r\n" : "");

	if (length >= (int)sizeof(request)) {
		errno = EMSGSIZE;
		die("headers");
	}
}

static void prepare(char **arguments, const char *more)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_INET};
	struct rlimit files;
	int result;

	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	host = arguments[0];
	result = getaddrinfo(host, arguments[1], &hints, &server);
	if (result != 0) {
		fprintf(stderr, "load: %s: %s\n", host, gai_strerror(result));
		exit(1);
	}
	make_request(arguments[2], more);
	context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT |
							SSL_SESS_CACHE_NO_INTERNAL_STORE);
	SSL_CTX_sess_set_new_cb(context, keep_session);
	/* Ends without close_notify are the peers' custom. */
	SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	slots = calloc(SLOTS, sizeof(*slots));
}

static void usage(void)
{
	fputs("usage: load [-c CLIENTS] [-d SECONDS] [-n] [-f] [-b ADDRESS] [-H HEADER]... HOST PORT PATH\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	static char more[2048];
	struct client *clients;
	uint64_t began;

	for (int option; (option = getopt(argc, argv, "c:d:nfb:H:")) != -1;) {
		size_t used = strlen(more);

		if (option == 'c')
			count = atoi(optarg);
		else if (option == 'd')
			seconds = atof(optarg);
		else if (option == 'b' && inet_pton(AF_INET, optarg, &from.sin_addr) == 1)
			from.sin_family = AF_INET;
		else if (option == 'H')
			snprintf(more + used, sizeof(more) - used, "%s\r\n", optarg);
		else if (option == 'n' || option == 'f')
			anew = true;
		else
			usage();
		full = full || option == 'f';
	}
	if (argc - optind != 3 || count < 1)
		usage();
	prepare(argv + optind, more);
	clients = calloc((size_t)count, sizeof(*clients));
	if (!clients || !slots || !context)
		die("memory");
	loop(clients, now() + (uint64_t)count * WARMING_NS);
	pause_here("ready");
	errors = 0;
	measuring = true;
	began = now();
	loop(clients, began + (uint64_t)(seconds * 1e9));
	printf("requests=%lu errors=%lu connections=%lu resumed=%lu seconds=%.3f p50_us=%.0f "
	       "p99_us=%.0f max_us=%lu tls=%s error=", requests, errors, connections, resumed,
	       (double)(now() - began) / 1e9, quantile(0.5), quantile(0.99), (unsigned long)longest,
	       spoken);
	pause_here(last_error);
	return 0;
}
