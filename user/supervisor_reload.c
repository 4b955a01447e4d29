// SPDX-License-Identifier: BSD-2-Clause
/* A reload: read beside the loop, closed in the kernel what the new policy does not allow, handed
 * to the worker, opened what it does. At each step what only one of the two policies allows is
 * refused; a failure ends with the old policy in force and says so. */
#include "supervisor_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "background.h"

/* Of PULSE_S each: six seconds, which thousands of routes do not need. */
#define RELOAD_PULSES 3 /* so long may a worker take over it */

/* What a worker would find out, and could only say by not starting. */
static bool check_files(const struct config *config, struct error *first)
{
	struct error error = {0};

	if (!config->upstream.ca_file ||
	    cert_authority_check_roots(config->upstream.ca_file, &error) == 0)
		return true;
	diag_error("upstream.ca_file: %s", error.text);
	error_set(first, "upstream.ca_file: %s", error.text);
	return false;
}

static void set_first(const struct diag_list *errors, struct error *first)
{
	const struct diag_item *item = errors->items;

	if (errors->count > 0)
		error_set(first, "%s:%d: %s", item->source, item->line, item->text);
}

/* From the background thread, too, so it touches nothing of the supervisor but its options. */
struct config *supervisor_load_config(const struct supervisor_options *options,
				      struct bytes *ret_blob, struct error *first)
{
	struct config_source sources[8];
	struct diag_list errors = {0};
	struct bytes text = {0}, blob = {0};
	struct error error = {0};
	struct config *config = NULL;
	size_t count = 0;

	if (options->policy_path) {
		if (config_read_file(options->policy_path, &text, &error) < 0) {
			diag_error("%s", error.text);
			error_set(first, "%s", error.text);
			return NULL;
		}
		sources[count++] = (struct config_source){options->policy_path, bytes_span(&text)};
	}
	for (size_t i = 0; i < options->extra_count && count < 8; i++)
		sources[count++] = options->extra[i];
	config = config_parse(sources, count, &errors);
	if (config && (!check_files(config, first) ||
		       !config_load_secrets_from(config, options->token_directory, &errors) ||
		       !config_pack(sources, count, config, &blob))) {
		config_free(config);
		config = NULL;
	}
	if (config && policy_is_audit(config->policy))
		diag_warning("enforcement: audit: names, paths, methods and headers are not refused, "
			     "only logged; addresses and protocols are");
	set_first(&errors, first);
	diag_list_print(&errors);
	diag_list_free(&errors);
	bytes_free(&text);
	if (!config) {
		bytes_wipe(&blob);
		return NULL;
	}
	bytes_wipe(ret_blob);
	*ret_blob = blob;
	return config;
}

/* `why` NULL: the new policy is in force. */
static void reload_ended(struct supervisor *s, const char *status, const char *why)
{
	struct error error = {0};

	s->reload_at = time(NULL);
	snprintf(s->reload_error, sizeof(s->reload_error), "%s", why ? why : "");
	if (!why)
		s->policy_since = s->reload_at;
	if (ready_say(s->options.ready, status, &error) < 0)
		diag_error("reload: %s", error.text);
}

static void free_config(void *config)
{
	config_free(config);
}

/* background_run() always calls back; there is nothing to do then. */
static void ignore(void *job)
{
	(void)job;
}

/* The new policy is in force in the worker: open what it allows and forget the old one. Freed
 * beside the loop: a policy of ten thousand routes takes a while. */
static void commit_reload(struct supervisor *s)
{
	struct error error = {0};
	struct config *old = s->config;

	if (s->ledger && (ledger_open(s->ledger, s->next, &error) < 0 ||
			  kernel_set_policy_hash(s->kernel, s->next->hash, &error) < 0))
		diag_error("reload: %s; what could not be opened stays closed", error.text);
	s->config = s->next;
	s->next = NULL;
	if (background_run(s->background, free_config, ignore, old) < 0)
		config_free(old);
	bytes_wipe(&s->blob);
	s->blob = s->next_blob;
	s->next_blob = (struct bytes){0};
	diag_notice("policy reloaded");
	reload_ended(s, "serving; policy reloaded", NULL);
}

/* ledger_open() with the old policy undoes what ledger_restrict() closed. */
void supervisor_reload_abandon(struct supervisor *s, const char *why)
{
	struct error error = {0};

	diag_error("reload: %s; the old policy stays in force", why);
	if (s->ledger && ledger_open(s->ledger, s->config, &error) < 0)
		diag_error("reload: %s; what could not be opened stays closed", error.text);
	config_free(s->next);
	s->next = NULL;
	bytes_wipe(&s->next_blob);
	reload_ended(s, "serving; reload failed, the old policy is in force", why);
}

/* A worker that cannot be told is replaced by one that starts with the new policy. */
static void send_next(struct supervisor *s)
{
	s->next_sent = true;
	s->pulses_since_sent = 0;
	if (worker_send_config(&s->worker, bytes_span(&s->next_blob)) < 0)
		supervisor_kill_worker(s, "takes no message");
}

/* A worker that was taken over must not keep its old policy by saying that it cannot take another.
 * What a fresh one refuses, which has read no byte of anybody's, is not to be had. */
void supervisor_reload_refused(struct supervisor *s, const char *text)
{
	if (!s->next || !s->next_sent)
		return;
	diag_error("reload: the worker refuses the new policy: %s", text);
	supervisor_kill_worker(s, "refuses the policy");
}

void supervisor_reload_pulse(struct supervisor *s)
{
	if (s->ready && s->next && s->next_sent && ++s->pulses_since_sent > RELOAD_PULSES)
		supervisor_kill_worker(s, "does not take the new policy");
}

/* Done for what was sent before s->next is not Done for s->next. */
void supervisor_reload_taken(struct supervisor *s)
{
	if (s->next && s->next_sent)
		commit_reload(s);
	else if (s->next)
		send_next(s);
}

/* ---- reading it, beside the loop: names and certificates are asked for meanwhile -------------- */

struct load {
	struct supervisor *s;
	struct config *config;
	struct bytes blob;
	struct error error;
};

static void load(void *context)
{
	struct load *load = context;

	load->config = supervisor_load_config(&load->s->options, &load->blob, &load->error);
}

/* Closing comes first: from here on nothing passes that the new policy forbids, whatever the worker
 * still thinks. */
static void put_next_in_force(struct supervisor *s, const char *why_not)
{
	struct error error = {0};

	if (!s->next) {
		diag_error("reload: the old policy stays in force");
		reload_ended(s, "serving; reload failed, the old policy is in force", why_not);
		return;
	}
	if (s->ledger && ledger_restrict(s->ledger, s->next, &error) < 0) {
		supervisor_reload_abandon(s, error.text);
		return;
	}
	/* A worker that is starting was given the old one: it hears of this when it is ready. One
	 * that has not started yet begins with it. */
	if (s->ready)
		send_next(s);
}

/* In the loop again. Secrets in the blob are wiped when nobody wants them any more. */
static void loaded(void *context)
{
	struct load *load = context;
	struct supervisor *s = load->s;
	struct error error = load->error;

	s->loading = false;
	if (s->stopping) {
		config_free(load->config);
		bytes_wipe(&load->blob);
		free(load);
		return;
	}
	s->next = load->config;
	s->next_blob = load->blob;
	free(load);
	s->next_sent = false;
	s->next_starts = 0;
	put_next_in_force(s, error.text);
	supervisor_reload_pending(s);
}

/* The thread is made at the first reload: most supervisors never see one. */
static int begin_load(struct supervisor *s)
{
	struct load *job;

	if (!s->background)
		s->background = background_new(s->base);
	job = s->background ? calloc(1, sizeof(*job)) : NULL;
	if (!job)
		return -1;
	job->s = s;
	if (background_run(s->background, load, loaded, job) == 0)
		return 0;
	free(job);
	return -1;
}

void supervisor_reload(struct supervisor *s)
{
	if (s->next || s->loading) { /* one at a time; the last word counts */
		s->reload_again = true;
		return;
	}
	ready_reloading(s->options.ready);
	s->loading = true;
	if (begin_load(s) == 0)
		return;
	s->loading = false;
	diag_error("reload: out of memory; the old policy stays in force");
	reload_ended(s, "serving; reload failed, the old policy is in force", "out of memory");
}

void supervisor_reload_pending(struct supervisor *s)
{
	if (!s->reload_again || s->next || s->loading)
		return;
	s->reload_again = false;
	supervisor_reload(s);
}
