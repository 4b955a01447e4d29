# SPDX-License-Identifier: BSD-2-Clause
# Completion for bash. Commands and options come from the program's own --help, so that they are
# those of the program that is installed.

_egress_bpf_bottles()
{
	ls /sys/fs/bpf/egress-bpf 2>/dev/null
}

# The options of $1 from its help, "--NAME VALUE" per line; VALUE may be missing. Those that are
# needed stand in the usage alone.
_egress_bpf_options()
{
	local help
	help=$("${COMP_WORDS[0]}" "$1" --help 2>/dev/null)
	sed -n 's/^  \(-[a-zA-Z], \)\{0,1\}\(--[a-z-]*\)\( \{0,1\}\)\([^ ]*\).*/\2 \4/p' <<<"$help"
	sed '/^$/q' <<<"$help" | grep -oE -e '--[a-z][a-z-]*( [A-Z]+)?'
}

# What the value of the option that ends before the cursor can be; false when it takes none.
_egress_bpf_value()
{
	local value
	value=$(_egress_bpf_options "$command" | sed -n "s/^$previous \([A-Z].*\)/\1/p" | head -n 1)
	[ -n "$value" ] || return 1
	case $previous in
	--user) mapfile -t COMPREPLY < <(compgen -u -- "$current") ;;
	--secret) mapfile -t COMPREPLY < <(compgen -e -S @ -- "$current") && compopt -o nospace ;;
	*)
		case $value in
		FILE | PATH) mapfile -t COMPREPLY < <(compgen -f -- "$current") && compopt -o filenames ;;
		DIR) mapfile -t COMPREPLY < <(compgen -d -- "$current") && compopt -o filenames ;;
		NAME) mapfile -t COMPREPLY < <(compgen -W "$(_egress_bpf_bottles)" -- "$current") ;;
		esac
		;;
	esac
	return 0
}

_egress_bpf_operand()
{
	case $command in
	exec) mapfile -t COMPREPLY < <(compgen -c -- "$current") ;;
	status | detach | events | pending | allow | deny)
		mapfile -t COMPREPLY < <(compgen -W "$(_egress_bpf_bottles)" -- "$current")
		;;
	ca)
		if [ "$COMP_CWORD" -eq 2 ]; then
			mapfile -t COMPREPLY < <(compgen -W init -- "$current")
		else
			mapfile -t COMPREPLY < <(compgen -d -- "$current") && compopt -o filenames
		fi
		;;
	*) mapfile -t COMPREPLY < <(compgen -f -- "$current") && compopt -o filenames ;;
	esac
}

_egress_bpf()
{
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]} i
	COMPREPLY=()

	if [ "$COMP_CWORD" -eq 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W "--help --version $("${COMP_WORDS[0]}" --help |
			sed -n 's/^  \([a-z-]*\) .*/\1/p')" -- "$current")
		return
	fi
	# Behind "--" stands another program's command line.
	for ((i = 2; i < COMP_CWORD; i++)); do
		if [ "${COMP_WORDS[i]}" = -- ]; then
			if declare -F _command_offset >/dev/null; then
				_command_offset $((i + 1))
			elif [ "$COMP_CWORD" -eq $((i + 1)) ]; then
				mapfile -t COMPREPLY < <(compgen -c -- "$current")
			else
				mapfile -t COMPREPLY < <(compgen -f -- "$current")
			fi
			return
		fi
	done
	case $current in
	-*)
		mapfile -t COMPREPLY < <(compgen -W "$(_egress_bpf_options "$command" |
			sed 's/ .*//')" -- "$current")
		;;
	*) _egress_bpf_value || _egress_bpf_operand ;;
	esac
}
complete -F _egress_bpf egress-bpf
