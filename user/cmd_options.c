// SPDX-License-Identifier: BSD-2-Clause
/* One loop for the commands whose options are flags and texts. What else a command has to say of a
 * value it says when it has them all. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd.h"

#define OPTIONS_MAX 32
#define FIRST_VALUE 256 /* above the letters of short options */

/* A value that is missing, or one too many, leaves the option's number in optopt, an unknown letter itself;
 * an unknown word is where getopt_long(3) has just been. */
static int refuse(const char *command, const struct cmd_option *list, int result, char **argv)
{
	if (optopt >= FIRST_VALUE)
		return cmd_usage(command, "--%s %s value", list[optopt - FIRST_VALUE].name,
				 result == ':' ? "needs a" : "takes no");
	/* As a letter it is known. */
	if (optopt == 'h')
		return cmd_usage(command, "--help takes no value");
	if (optopt > 0)
		return cmd_usage(command, result == ':' ? "-%c needs a value" : "unknown option '-%c'",
				 optopt);
	return cmd_usage(command, "unknown option '%s'", argv[optind - 1]);
}

static const struct cmd_option *find(const struct cmd_option *list, int result)
{
	if (result >= FIRST_VALUE)
		return &list[result - FIRST_VALUE];
	for (const struct cmd_option *at = list; at->name; at++)
		if (at->letter && at->letter == result)
			return at;
	return NULL;
}

/* The digit is looked at first: strtoul(3) takes blanks and a sign as well. */
static int store_seconds(const char *command, const struct cmd_option *option)
{
	char *end;
	unsigned long value = strtoul(optarg, &end, 10);

	if (optarg[0] < '0' || optarg[0] > '9' || *end || value < 1 || value > 3600)
		return cmd_usage(command, "--%s %s: say 1 to 3600 seconds", option->name, optarg);
	*option->seconds = (unsigned)value;
	return EXIT_OK;
}

/* Empty is a shell's variable that is not set, and as a directory it would be the root's. */
static int store(const char *command, const struct cmd_option *option)
{
	if (!option->flag && !*optarg)
		return cmd_usage(command, "--%s: its value is empty", option->name);
	if (option->seconds)
		return store_seconds(command, option);
	if (option->take)
		return option->take(option->context, optarg);
	if (option->flag)
		*option->flag = true;
	else
		*option->text = optarg;
	return EXIT_OK;
}

/* `first` is what the letters of getopt_long(3) begin with. */
static int read_options(const char *command, const char *help, const struct cmd_option *list, int argc,
			char **argv, const char *first)
{
	struct option options[OPTIONS_MAX + 2] = {{"help", no_argument, NULL, 'h'}};
	char letters[2 * OPTIONS_MAX + 4] = {0};
	size_t letter_count = (size_t)snprintf(letters, sizeof(letters), "%s", first);
	int result, status = EXIT_OK;

	for (size_t i = 0; i < OPTIONS_MAX && list[i].name; i++) {
		options[i + 1] = (struct option){
			list[i].name, list[i].flag ? no_argument : required_argument, NULL,
			FIRST_VALUE + (int)i};
		if (list[i].letter)
			letters[letter_count++] = list[i].letter;
		if (list[i].letter && !list[i].flag)
			letters[letter_count++] = ':';
	}
	while (status == EXIT_OK &&
	       (result = getopt_long(argc, argv, letters, options, NULL)) != -1) {
		const struct cmd_option *found = find(list, result);

		if (result == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		status = found ? store(command, found) : refuse(command, list, result, argv);
	}
	return status == EXIT_OK ? -1 : status;
}

int cmd_options(const char *command, const char *help, const struct cmd_option *list, int argc,
		char **argv)
{
	return read_options(command, help, list, argc, argv, ":h");
}

int cmd_options_ahead(const char *command, const char *help, const struct cmd_option *list, int argc,
		      char **argv)
{
	return read_options(command, help, list, argc, argv, "+:h");
}
