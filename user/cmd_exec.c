// SPDX-License-Identifier: BSD-2-Clause
/* exec: this process is the supervisor of a bottle made for one command. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bottle.h"
#include "bottle_janitor.h"
#include "bottle_let_in.h"
#include "bottle_routes.h"
#include "bottle_summary.h"
#include "cgroup.h"
#include "cmd.h"
#include "control.h"
#include "kernel.h"
#include "record.h"
#include "supervisor.h"
#include "worker_uid.h"

static const char help_text[] =
	"usage: egress-bpf exec [OPTIONS] [--] COMMAND [ARGUMENT...]\n"
	"\n"
	"Runs COMMAND in a sandbox of its own that reaches nothing but what a route allows. It needs\n"
	"no proxy variable and no change: names, connections and certificates work as ever. Started\n"
	"by sudo, COMMAND runs as the user who called it. The network is confined, files are not.\n"
	"\n"
	"  --policy FILE       routes (YAML or JSON); 'egress-bpf check FILE' explains errors\n"
	"  --allow HOST[:PORT][/PATH]\n"
	"                      one more route: ports 443 and 80 unless said, all paths unless said.\n"
	"                      HOST may be '*.example.com'. tls://HOST is passed through unseen,\n"
	"                      tcp://HOST:PORT is raw TCP. May be repeated\n"
	"  --secret ENV@HOST[:PORT][/PATH][,scheme=Bearer|token|Basic][,username=NAME][,header=NAME]\n"
	"                      the value of the variable ENV goes to HOST as a credential, and is not\n"
	"                      seen inside: as Bearer unless said, but ANTHROPIC_API_KEY as x-api-key\n"
	"                      and GEMINI_API_KEY as x-goog-api-key. It keeps to the paths that\n"
	"                      --allow gives for HOST. May be repeated\n"
	"  --log FILE          one JSON line per decision, appended; '-' is standard output\n"
	"  --name NAME         the bottle's name for 'egress-bpf status' (default exec-PID)\n"
	"  --user NAME         run COMMAND as this user\n"
	"  --bind-socket PATH  let this unix socket of the host in; all others with a path are\n"
	"                      hidden. What is behind it is outside of every wall. May be repeated\n"
	"  --require unix      no sandbox, rather than one on a kernel that cannot refuse unix sockets\n"
	"                      which are bound outside after the start\n"
	"  --host-port N[:M]   127.0.0.1:N inside leads to 127.0.0.1:M (or N) on the host, counted and\n"
	"                      logged as host-loopback. May be repeated\n"
	"  --audit             log what would be refused by name, path, method or header, and let it\n"
	"                      pass without a credential; addresses and UDP stay refused\n"
	"  --learn FILE        refuse nothing that has a name, inject nothing, and write a policy to FILE\n"
	"                      that allows what COMMAND asked for; addresses and UDP stay refused\n"
	"  --wildcards         with --learn: '*.example.com' for three or more names below it\n"
	"  --report FILE       JSON: what was allowed and refused, and what the kernel's counters prove\n"
	"  --summary FILE      the same in Markdown, appended: for a CI job's page\n"
	"  --workers N|auto    processes that speak to the network, 1 to 64; auto (the default) is one, and\n"
	"                      more, up to one for each processor, when all are busy; they stay\n"
	"  -q, --quiet         no summary at the end, no notices\n"
	"  -h, --help          this text\n"
	"\n"
	"Without any route nothing is reachable. Inside, HTTPS_PROXY=http://egress:9099 works too.\n"
	"\n"
	"Exit status: COMMAND's own, 128+N when signal N ended it; 2 usage or policy error, 125 no\n"
	"sandbox, 126 COMMAND cannot be run, 127 it was not found.\n"
	"\n"
	"  sudo egress-bpf exec --allow pypi.org --allow files.pythonhosted.org -- pip install flask\n"
	"  sudo --preserve-env=TOKEN egress-bpf exec --allow api.github.com/repos/acme/ \\\n"
	"       --secret TOKEN@api.github.com -- ./agent\n"
	"  sudo egress-bpf exec --policy routes.yaml --log egress.jsonl -- npm ci\n";

struct exec {
	/* what was asked for */
	const char *policy_path, *log_path, *user_name;
	struct record_options outputs;
	char name[80];
	bool quiet, audit, unix_required;
	char **argv;
	struct bottle_routes *routes;
	const char **sockets; /* each from argv */
	struct egress_unix_file let_in[EGRESS_MAX_LET_IN]; /* the same */
	size_t socket_count;
	struct host_port host_ports[HOST_PORT_MAX];
	size_t host_port_count;
	unsigned workers;
	/* what it takes */
	struct bottle_user user;
	char *cgroup_root;
	char *allow_text, *secret_text;
	struct janitor *janitor;
	struct bottle *bottle;
	int netns_fd;
	struct supervisor *supervisor;
	struct event *ended, *report, *signals, *broker;
	struct record *record;
	time_t started;
	bool running; /* the command */
	bool broker_died;
	int status;
};

/* ---- options -------------------------------------------------------------------------------- */

static int take_allow(void *context, const char *text)
{
	struct exec *exec = context;
	struct error error = {0};

	if (bottle_routes_allow(exec->routes, text, &error) < 0)
		return cmd_usage("exec", "--allow: %s", error.text);
	return EXIT_OK;
}

static int take_secret(void *context, const char *text)
{
	struct exec *exec = context;
	struct error error = {0};

	if (bottle_routes_secret(exec->routes, text, &error) < 0)
		return cmd_usage("exec", "--secret: %s", error.text);
	return EXIT_OK;
}

static int take_name(void *context, const char *name)
{
	struct exec *exec = context;
	size_t length;

	if (!kernel_name_valid(name))
		return cmd_usage("exec", "--name: 1 to 64 letters, digits and '._-', "
					 "not starting with '.'");
	length = strlen(name);
	/* Its directory would lie where the control socket of that one is. */
	if (length > strlen(CONTROL_SUFFIX) &&
	    strcmp(name + length - strlen(CONTROL_SUFFIX), CONTROL_SUFFIX) == 0)
		return cmd_usage("exec", "--name: '%s' is where a bottle '%.*s' is asked: no NAME of exec "
					 "ends in '" CONTROL_SUFFIX "'",
				 name, (int)(length - strlen(CONTROL_SUFFIX)), name);
	if (strcmp(name, WORKER_UID_LOCKS) == 0)
		return cmd_usage("exec", "--name: '%s' is a file of egress-bpf's own", name);
	snprintf(exec->name, sizeof(exec->name), "%s", name);
	return EXIT_OK;
}

/* Found now, by the kernel's numbers: what is let in is this file, whatever stands at the path
 * later. */
static int take_socket(void *context, const char *path)
{
	struct exec *exec = context;
	struct error error = {0};
	const char **sockets;

	if (exec->socket_count == EGRESS_MAX_LET_IN)
		return cmd_usage("exec", "--bind-socket: at most %d of them", EGRESS_MAX_LET_IN);
	sockets = reallocarray(exec->sockets, exec->socket_count + 1, sizeof(*sockets));
	if (!sockets)
		return cmd_usage("exec", "out of memory");
	exec->sockets = sockets;
	if (bottle_let_in_find(path, &exec->let_in[exec->socket_count], &error) < 0)
		return cmd_usage("exec", "--bind-socket %s", error.text);
	sockets[exec->socket_count++] = path;
	return EXIT_OK;
}

static int take_host_port(void *context, const char *text)
{
	struct exec *exec = context;
	struct error error = {0};

	if (exec->host_port_count == HOST_PORT_MAX)
		return cmd_usage("exec", "--host-port: at most %d of them", HOST_PORT_MAX);
	if (host_port_parse(text, &exec->host_ports[exec->host_port_count], &error) < 0)
		return cmd_usage("exec", "--host-port: %s", error.text);
	exec->host_port_count++;
	return EXIT_OK;
}

static int take_required(void *context, const char *text)
{
	struct exec *exec = context;

	if (strcmp(text, "unix") != 0)
		return cmd_usage("exec", "--require: 'unix' is all there is to require, not '%s'", text);
	exec->unix_required = true;
	return EXIT_OK;
}

static int take_workers(void *context, const char *text)
{
	struct exec *exec = context;

	if (!supervisor_parse_workers(text, &exec->workers))
		return cmd_usage("exec", "--workers %s: neither 1 to %d nor auto", text,
				 SUPERVISOR_WORKERS_MAX);
	return EXIT_OK;
}

/* -1 to go on, else what to exit with. `exec->argv` becomes the command's. */
static int parse_options(struct exec *exec, int argc, char **argv)
{
	const struct cmd_option options[] = {
		{"policy", .text = &exec->policy_path},
		{"allow", .take = take_allow, .context = exec},
		{"secret", .take = take_secret, .context = exec},
		{"log", .text = &exec->log_path},
		{"name", .take = take_name, .context = exec},
		{"user", .text = &exec->user_name},
		{"bind-socket", .take = take_socket, .context = exec},
		{"require", .take = take_required, .context = exec},
		{"host-port", .take = take_host_port, .context = exec},
		{"audit", .flag = &exec->audit},
		{"learn", .text = &exec->outputs.learn_path},
		{"wildcards", .flag = &exec->outputs.wildcards},
		{"report", .text = &exec->outputs.report_path},
		{"summary", .text = &exec->outputs.summary_path},
		{"workers", .take = take_workers, .context = exec},
		{"quiet", 'q', .flag = &exec->quiet},
		{0},
	};
	int status = cmd_options_ahead("exec", help_text, options, argc, argv);
	struct error error = {0};

	if (status >= 0)
		return status;
	if (optind >= argc)
		return cmd_usage("exec", "say which COMMAND to run");
	exec->argv = argv + optind;
	if (exec->outputs.wildcards && !exec->outputs.learn_path)
		return cmd_usage("exec", "--wildcards goes with --learn FILE");
	if (bottle_routes_texts(exec->routes, &exec->allow_text, &exec->secret_text, &error) < 0)
		return cmd_usage("exec", "%s", error.text);
	return -1;
}

/* ---- building up ---------------------------------------------------------------------------- */

/* The default name has our pid in it, which the janitor's sweep reads. */
static int find_place(struct exec *exec, struct error *error)
{
	if (geteuid() != 0)
		return error_set(error, "must be started by root; use sudo");
	if (bottle_user_find(exec->user_name, getenv("SUDO_UID"), getenv("SUDO_GID"), &exec->user,
			     error) < 0 ||
	    cgroup_root(&exec->cgroup_root, error) < 0)
		return -1;
	if (exec->name[0] == '\0')
		snprintf(exec->name, sizeof(exec->name), "exec-%d", (int)getpid());
	return 0;
}

/* The janitor first: from here on nothing can be left behind. */
static int make_bottle(struct exec *exec, struct error *error)
{
	struct bottle_options bottle = {
		.name = exec->name,
		.user = &exec->user,
		.argv = exec->argv,
		.sockets = exec->sockets,
		.socket_count = exec->socket_count,
		.signals = cmd_callers_mask(),
	};

	if (janitor_start(exec->cgroup_root, exec->name, &exec->janitor, error) < 0)
		return -1;
	bottle.cgroup_path = janitor_cgroup(exec->janitor);
	if (bottle_start(&bottle, &exec->bottle, error) < 0)
		return -1;
	exec->netns_fd = netns_of_pid(bottle_pid(exec->bottle), error);
	return exec->netns_fd < 0 ? -1 : 0;
}

/* EXIT_OK, or what to exit with; errors are printed. Static, for supervisor_options borrows its
 * sources for life. */
static int open_supervisor(struct exec *exec)
{
	static struct config_source sources[3];
	const struct supervisor_options supervisor = {
		.name = exec->name,
		.cgroup_path = janitor_cgroup(exec->janitor),
		.netns_fd = exec->netns_fd,
		.policy_path = exec->policy_path,
		.extra = sources,
		.extra_count = exec->outputs.learn_path || exec->audit ? 3 : 2,
		.learning = exec->outputs.learn_path,
		.log_path = exec->log_path,
		.record_fd = record_fd(exec->record),
		.workers = exec->workers,
		.self_test = true,
		.forward_signals = true,
		.brief = true,
		.tell_refused = !exec->quiet,
		.host_ports = exec->host_ports,
		.host_port_count = exec->host_port_count,
		.unix_wall = true,
		.unix_wall_required = exec->unix_required,
		.unix_broker = true,
		.let_in = exec->let_in,
		.let_in_count = exec->socket_count,
	};
	int status;

	/* Secrets first: which of two routes for one path wins is then the one that can do more. */
	sources[0] = (struct config_source){"--secret", span_from(exec->secret_text)};
	sources[1] = (struct config_source){"--allow", span_from(exec->allow_text)};
	sources[2] = (struct config_source){"--audit", SPAN(RECORD_LEARN_SOURCE)};
	status = supervisor_open(&supervisor, &exec->supervisor);
	if (status != EXIT_OK)
		return status == EXIT_FAILED ? EXIT_SANDBOX : status;
	if (!exec->outputs.learn_path ||
	    policy_secret_count(supervisor_config(exec->supervisor)->policy) == 0)
		return EXIT_OK;
	return cmd_usage("exec", "--learn injects no credential: leave --secret, and routes with one, "
			 "out while learning");
}

/* The sources of the policy's secrets, of one kind. */
static const char **secret_sources(const struct config *config, enum policy_secret_kind kind,
				   size_t *ret_count)
{
	size_t total = config_secret_count(config), count = 0;
	const char **sources = calloc(total + 1, sizeof(*sources));

	for (size_t i = 0; sources && i < total; i++) {
		const struct policy_secret *secret = config_secret_at(config, i);

		if (secret->kind == kind)
			sources[count++] = secret->source;
	}
	*ret_count = count;
	return sources;
}

/* Names of variables and paths of files; the values stay here. */
static int prepare_bottle(struct exec *exec, struct error *error)
{
	const struct config *config = supervisor_config(exec->supervisor);
	struct bytes pem = {0};
	struct bottle_plan plan = {.proxy_name = config->dns.proxy_name};
	const char **names = secret_sources(config, POLICY_SECRET_ENV, &plan.secret_count);
	const char **files = secret_sources(config, POLICY_SECRET_FILE, &plan.hidden_count);
	int rc = -1;

	plan.secrets = names;
	plan.hidden = files;
	if (!names || !files || cert_authority_pem(supervisor_ca(exec->supervisor), &pem) < 0 ||
	    !bytes_append(&pem, "", 1)) {
		error_set(error, "out of memory");
	} else {
		plan.ca_pem = bytes_span(&pem).data;
		rc = bottle_prepare(exec->bottle, &plan, error);
	}
	bytes_free(&pem);
	free(names);
	free(files);
	return rc;
}

/* ---- while it runs -------------------------------------------------------------------------- */

struct signal_note {
	int number, code;
};

/* A handler has no context. */
static int signal_pipe[2] = {-1, -1};

/* Only what is safe in a handler. A full pipe loses a signal that many are queued behind. */
static void note_signal(int number, siginfo_t *info, void *context)
{
	const struct signal_note note = {number, info->si_code};
	int saved = errno;
	ssize_t written = write(signal_pipe[1], &note, sizeof(note));

	(void)context;
	(void)written;
	errno = saved;
}

/* The terminal signals its whole process group, the command included: only what was sent to us
 * alone is passed on. Before the command runs there is nobody else to hear it. */
static void on_signal(evutil_socket_t fd, short what, void *context)
{
	struct exec *exec = context;
	struct signal_note note;

	(void)what;
	/* PIPE_BUF is larger: a note is written whole or not at all (pipe(7)). */
	while (read(fd, &note, sizeof(note)) == (ssize_t)sizeof(note)) {
		if (note.code != SI_KERNEL || !exec->running)
			bottle_signal(exec->bottle, note.number);
	}
}

static int catch_signals(struct error *error)
{
	static const int numbers[] = {SIGTERM, SIGINT,  SIGHUP,	 SIGQUIT,
				      SIGUSR1, SIGUSR2, SIGWINCH};
	struct sigaction action = {.sa_sigaction = note_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sigaction before;

	if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_set(error, "cannot make a pipe: %s", strerror(errno));
	/* No handler inside another: their order is the one they are passed on in. */
	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		/* nohup and shells without job control: what is ignored stays ignored. */
		if (sigaction(numbers[i], NULL, &before) < 0 || before.sa_handler == SIG_IGN)
			continue;
		if (sigaction(numbers[i], &action, NULL) < 0)
			return error_set(error, "sigaction: %s", strerror(errno));
	}
	return 0;
}

/* The command goes on, as it would with any other service that it lost. One that does not run is told of
 * by its own report. */
static void tell_of_broker(const struct exec *exec)
{
	if (exec->running && exec->broker_died)
		diag_error("exec: the broker for unix sockets has died: every connect() and bind() of "
			   "the sandbox fails from now on (ENOSYS)");
}

/* The command runs when there is nothing to report. */
static void on_report(evutil_socket_t fd, short what, void *context)
{
	struct exec *exec = context;
	struct error error = {0};

	(void)fd;
	(void)what;
	event_del(exec->report);
	if (bottle_read_report(exec->bottle, &error) == 0)
		exec->running = true;
	else
		diag_error("exec: %s", error.text);
	tell_of_broker(exec);
}

/* The supervisor's loop is ours, too. */
static void on_ended(evutil_socket_t fd, short what, void *context)
{
	struct exec *exec = context;

	(void)fd;
	(void)what;
	supervisor_quit(exec->supervisor);
}

static void on_broker(evutil_socket_t fd, short what, void *context)
{
	struct exec *exec = context;

	(void)fd;
	(void)what;
	event_del(exec->broker);
	exec->broker_died = bottle_broker_failed(exec->bottle);
	tell_of_broker(exec);
}

static struct event *watch(struct exec *exec, int fd, short what, event_callback_fn callback)
{
	struct event *event =
		event_new(supervisor_base(exec->supervisor), fd, EV_READ | what, callback, exec);

	if (event && event_add(event, NULL) < 0) {
		event_free(event);
		return NULL;
	}
	return event;
}

static int watch_bottle(struct exec *exec, struct error *error)
{
	if (catch_signals(error) < 0)
		return -1;
	exec->ended = watch(exec, bottle_pidfd(exec->bottle), 0, on_ended);
	exec->report = watch(exec, bottle_report_fd(exec->bottle), 0, on_report);
	exec->signals = watch(exec, signal_pipe[0], EV_PERSIST, on_signal);
	exec->broker = watch(exec, bottle_broker_pidfd(exec->bottle), 0, on_broker);
	if (!exec->ended || !exec->report || !exec->signals || !exec->broker)
		return error_set(error, "cannot watch the sandbox");
	return 0;
}

/* The end may be seen before the report of why. */
static void finish_report(struct exec *exec)
{
	if (bottle_report_fd(exec->bottle) >= 0)
		on_report(-1, 0, exec);
}

/* From the pinned maps: when the worker has ended, which counts a request behind its answer, and before
 * the wall is taken down. */
static void summarise(const struct exec *exec)
{
	struct kernel_status status;
	struct error error = {0};
	char line[1024];

	if (exec->quiet || kernel_read_status(exec->name, &status, &error) < 0)
		return;
	bottle_summary(&status, line, sizeof(line));
	fprintf(stderr, "egress-bpf: %s\n", line);
	kernel_status_free(&status);
}

/* Each step needs those before it; take_down() ends whatever was begun. */
static int run(struct exec *exec)
{
	struct error error = {0};
	int status;

	exec->started = time(NULL);
	if (find_place(exec, &error) < 0 || record_open(&exec->outputs, &exec->record, &error) < 0 ||
	    make_bottle(exec, &error) < 0) {
		diag_error("exec: %s", error.text);
		return EXIT_SANDBOX;
	}
	status = open_supervisor(exec);
	if (status != EXIT_OK)
		return status;
	/* The bottle's inside and the walls outside are prepared side by side. */
	if (prepare_bottle(exec, &error) < 0) {
		diag_error("exec: %s", error.text);
		return EXIT_SANDBOX;
	}
	if (supervisor_start(&exec->supervisor) != EXIT_OK)
		return EXIT_SANDBOX;
	if (watch_bottle(exec, &error) < 0 ||
	    bottle_release(exec->bottle, supervisor_unix_brokered(exec->supervisor), &error) < 0) {
		diag_error("exec: %s", error.text);
		return EXIT_SANDBOX;
	}
	status = supervisor_loop(exec->supervisor);
	if (status != EXIT_OK)
		return EXIT_SANDBOX;
	finish_report(exec);
	exec->status = bottle_wait(exec->bottle);
	return exec->status;
}

/* ---- taking down ---------------------------------------------------------------------------- */

static void free_event(struct event *event)
{
	if (event)
		event_free(event);
}

/* Every process of the bottle and the worker have ended; the wall still stands. */
static void write_record(const struct exec *exec, bool audit)
{
	const struct report facts = {
		.bottle = exec->name,
		.command = exec->argv[0],
		.exit_status = exec->status,
		.started = exec->started,
		.ended = time(NULL),
		.audit = audit,
		.socket_count = exec->socket_count,
		.host_port_count = exec->host_port_count,
	};

	record_write(exec->record, &facts, exec->argv[0]);
}

/* Whatever had been built. The wall goes last, after every process of the bottle. */
static void take_down(struct exec *exec)
{
	struct error error = {0};
	bool audit;

	free_event(exec->ended);
	free_event(exec->report);
	free_event(exec->signals);
	free_event(exec->broker);
	bottle_free(exec->bottle);
	/* Asked now: supervisor_stop() frees the policy. */
	audit = exec->supervisor && policy_is_audit(supervisor_config(exec->supervisor)->policy);
	supervisor_stop(exec->supervisor, false);
	if (exec->running)
		summarise(exec);
	if (exec->running && exec->record)
		write_record(exec, audit);
	if (exec->netns_fd >= 0)
		close(exec->netns_fd);
	if (janitor_finish(exec->janitor, &error) < 0)
		diag_error("exec: %s", error.text);
}

static void free_exec(struct exec *exec)
{
	record_free(exec->record);
	bottle_routes_free(exec->routes);
	bottle_user_release(&exec->user);
	free(exec->sockets);
	free(exec->cgroup_root);
	free(exec->allow_text);
	free(exec->secret_text);
}

int cmd_exec(int argc, char **argv)
{
	struct exec exec = {.netns_fd = -1};
	int status;

	exec.routes = bottle_routes_new();
	if (!exec.routes) {
		diag_error("exec: out of memory");
		return EXIT_SANDBOX;
	}
	status = parse_options(&exec, argc, argv);
	if (status < 0) {
		diag_set_quiet(exec.quiet);
		status = run(&exec);
		take_down(&exec);
	}
	free_exec(&exec);
	return status;
}
