// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cmd.h"
#include "config.h"
#include "diag.h"

#define DEFAULT_POLICY "routes.yaml"
#define MAX_HEADERS 64

static const char help_text[] =
	"usage: egress-bpf why [OPTIONS] METHOD URL\n"
	"\n"
	"Says what a policy answers to one request: the verdict, its reason, the route with its\n"
	"line, the header and the source of the credential that would be injected (never a value),\n"
	"and what would allow a refused request. Asks no network and looks up no secret.\n"
	"\n"
	"  --policy FILE    the policy; default routes.yaml in the current directory\n"
	"  --header 'N: V'  a header of the request; may be repeated\n"
	"  --json           one JSON object\n"
	"  --help           this text\n"
	"\n"
	"Exit status: 0 allowed, 1 refused, 2 usage or policy error.\n";

struct question {
	const char *policy_path;
	bool json;
	struct policy_header headers[MAX_HEADERS];
	size_t header_count;
	struct span method;
	bool tls;
	uint16_t port;
	char host[EGRESS_NAME_SIZE]; /* a name, or the text of an address */
	bool is_address;
	struct egress_address address;
	char *target; /* owned */
};

struct answer {
	struct policy_verdict verdict;
	const char *note; /* how an allowed connection is treated, or NULL */
	char place[512];  /* "api.github.com (routes.yaml:3)" or "" */
	const char *header;
	const struct policy_secret *secret;
};

/* ---- the question ----------------------------------------------------------------------------- */

static bool parse_port(struct span text, uint16_t *ret_port)
{
	unsigned long port = 0;

	if (text.length == 0 || text.length > 5)
		return false;
	for (size_t i = 0; i < text.length; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		port = port * 10 + (unsigned long)(text.data[i] - '0');
	}
	*ret_port = (uint16_t)port;
	return port > 0 && port <= UINT16_MAX;
}

/* The name, or the address without brackets. */
static bool parse_host(struct question *q, struct span host)
{
	char text[EGRESS_NAME_SIZE];
	bool bracketed = host.length > 2 && host.data[0] == '[' &&
			 host.data[host.length - 1] == ']';

	if (bracketed)
		host = (struct span){host.data + 1, host.length - 2};
	if (host.length >= sizeof(text))
		return false;
	memcpy(text, host.data, host.length);
	text[host.length] = '\0';
	q->is_address = address_parse(text, &q->address);
	if (q->is_address)
		memcpy(q->host, text, host.length + 1);
	return q->is_address || (!bracketed && policy_normalise_host(host, q->host));
}

static bool parse_authority(struct question *q, struct span authority)
{
	size_t colon = authority.length;

	while (colon > 0 && authority.data[colon - 1] != ':' && authority.data[colon - 1] != ']')
		colon--;
	if (colon > 0 && authority.data[colon - 1] == ':') {
		struct span port = {authority.data + colon, authority.length - colon};

		if (!parse_port(port, &q->port))
			return false;
		authority.length = colon - 1;
	}
	return parse_host(q, authority);
}

static bool parse_url(struct question *q, const char *url)
{
	struct span authority;
	size_t length;

	if (strncasecmp(url, "https://", 8) == 0)
		q->tls = true;
	else if (strncasecmp(url, "http://", 7) != 0)
		return false;
	url += q->tls ? 8 : 7;
	q->port = q->tls ? 443 : 80;
	length = strcspn(url, "/?#");
	authority = (struct span){url, length};
	url += length;
	length = strcspn(url, "#"); /* a client sends no fragment */
	if (asprintf(&q->target, "%s%.*s", url[0] == '/' ? "" : "/", (int)length, url) < 0)
		return false;
	return parse_authority(q, authority);
}

static bool add_header(struct question *q, const char *text)
{
	const char *colon = strchr(text, ':');

	if (!colon || colon == text || q->header_count == MAX_HEADERS)
		return false;
	q->headers[q->header_count++] = (struct policy_header){
		{text, (size_t)(colon - text)}, span_trim(span_from(colon + 1))};
	return true;
}

/* -1 to go on, else the exit status. */
static int parse_options(struct question *q, int argc, char **argv)
{
	static const struct option options[] = {
		{"policy", required_argument, NULL, 'p'},
		{"header", required_argument, NULL, 'H'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int option;

	while ((option = getopt_long(argc, argv, ":H:", options, NULL)) != -1) {
		switch (option) {
		case 'p':
			q->policy_path = optarg;
			break;
		case 'H':
			if (!add_header(q, optarg))
				return cmd_usage("why", "'%s' is not a header, 'Name: value'",
						 optarg);
			break;
		case 'j':
			q->json = true;
			break;
		case 'h':
			fputs(help_text, stdout);
			return EXIT_OK;
		case ':':
			return cmd_usage("why", "an option lacks its value");
		default:
			return cmd_usage("why", "unknown option");
		}
	}
	if (argc - optind != 2)
		return cmd_usage("why", "say METHOD and URL");
	q->method = span_from(argv[optind]);
	if (!parse_url(q, argv[optind + 1]))
		return cmd_usage("why", "'%s' is not an http:// or https:// URL", argv[optind + 1]);
	return -1;
}

/* ---- the answer ------------------------------------------------------------------------------- */

/* As the kernel wall and the proxy treat an address that was reached without a name. */
static void ask_address(const struct policy *policy, const struct question *q, struct answer *ret)
{
	const struct policy_cidr *cidr = policy_find_cidr(policy, &q->address, q->port);

	if (!cidr) {
		ret->verdict.reason = EGRESS_ADDRESS_NOT_ALLOWED;
		snprintf(ret->verdict.hint, sizeof(ret->verdict.hint),
			 "use the host's name, or add \"- {cidr: %.64s, ports: [%u]%s}\" to routes",
			 q->host, q->port,
			 address_is_private(&q->address) ? ", allow_private: true" : "");
		return;
	}
	ret->verdict.reason = EGRESS_ALLOWED;
	ret->note = cidr->direct ? "let out directly, bytes are not looked at"
				 : "spliced, bytes are not looked at";
	snprintf(ret->place, sizeof(ret->place), "cidr (%s:%d)", cidr->file, cidr->line);
}

static void ask_name(const struct policy *policy, const struct question *q, struct answer *ret)
{
	const struct policy_host *host = policy_find_host(policy, q->host);
	const struct policy_request request = {
		.host = q->host,
		.port = q->port,
		.tls = q->tls,
		.method = q->method,
		.target = q->target ? span_from(q->target) : SPAN("/"),
		.headers = q->headers,
		.header_count = q->header_count,
	};
	const struct policy_route *route;
	enum policy_mode mode = POLICY_INTERCEPT;

	policy_decide(policy, &request, &ret->verdict);
	route = ret->verdict.route;
	if (host && policy_host_allows_port(host, q->port))
		mode = policy_host_mode(host, q->port);
	if (mode == POLICY_TCP || (mode == POLICY_PASSTHROUGH && q->tls)) {
		ret->verdict.reason = EGRESS_ALLOWED;
		ret->verdict.hint[0] = '\0';
		ret->note = "spliced, requests are not looked at";
	}
	if (!route)
		return;
	snprintf(ret->place, sizeof(ret->place), "%s (%s:%d)", policy_route_host(route),
		 policy_route_file(route), policy_route_line(route));
	if (ret->verdict.reason == EGRESS_ALLOWED)
		ret->secret = policy_route_secret(route, &ret->header);
}

static const char *secret_kind(const struct policy_secret *secret)
{
	return secret->kind == POLICY_SECRET_ENV ? "variable" : "file";
}

static void print_text(const struct answer *answer)
{
	const struct policy_verdict *verdict = &answer->verdict;

	if (verdict->reason != EGRESS_ALLOWED)
		printf("refused: %s\n", reason_name(verdict->reason));
	else if (answer->note)
		printf("allowed: %s\n", answer->note);
	else
		puts("allowed");
	if (answer->place[0])
		printf("route: %s\n", answer->place);
	if (answer->secret)
		printf("credential: %s, from the %s %s\n", answer->header,
		       secret_kind(answer->secret), answer->secret->source);
	if (verdict->reason != EGRESS_ALLOWED)
		printf("would allow it: %s\n",
		       verdict->hint[0] ? verdict->hint : reason_cure(verdict->reason));
}

static void print_json(const struct answer *answer)
{
	const struct policy_verdict *verdict = &answer->verdict;
	bool allowed = verdict->reason == EGRESS_ALLOWED;
	json_t *object = json_pack("{s:b, s:s}", "allowed", allowed, "reason",
				   reason_name(verdict->reason));

	if (answer->note && allowed)
		json_object_set_new(object, "note", json_string(answer->note));
	if (answer->place[0])
		json_object_set_new(object, "route", json_string(answer->place));
	if (answer->secret)
		json_object_set_new(object, "credential",
				    json_pack("{s:s, s:s}", "header", answer->header,
					      secret_kind(answer->secret), answer->secret->source));
	if (!allowed)
		json_object_set_new(object, "hint",
				    json_string(verdict->hint[0] ? verdict->hint
								 : reason_cure(verdict->reason)));
	json_dumpf(object, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(object);
}

static int answer_question(const struct question *q)
{
	struct diag_list errors = {0};
	struct error error = {0};
	struct bytes content = {0};
	struct config *config = NULL;
	struct answer answer = {0};
	int status = EXIT_USAGE;

	if (config_read_file(q->policy_path, &content, &error) < 0) {
		diag_error("%s", error.text);
		return EXIT_USAGE;
	}
	config = config_parse(&(struct config_source){q->policy_path, bytes_span(&content)}, 1,
			      &errors);
	if (config) {
		if (q->is_address)
			ask_address(config->policy, q, &answer);
		else
			ask_name(config->policy, q, &answer);
		(q->json ? print_json : print_text)(&answer);
		status = answer.verdict.reason == EGRESS_ALLOWED ? EXIT_OK : EXIT_FAILED;
	} else {
		diag_list_print(&errors);
	}
	config_free(config);
	bytes_free(&content);
	diag_list_free(&errors);
	return status;
}

int cmd_why(int argc, char **argv)
{
	struct question question = {.policy_path = DEFAULT_POLICY};
	int status = parse_options(&question, argc, argv);

	if (status < 0)
		status = answer_question(&question);
	free(question.target);
	return status;
}
