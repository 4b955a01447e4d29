# SPDX-License-Identifier: BSD-2-Clause
# Completion for fish. Commands and options come from the program's own --help.

function __egress_bpf_commands
    egress-bpf --help | sed -n 's/^  \([a-z-]*\)  *\(.*\)/\1\t\2/p'
end

function __egress_bpf_options
    set -l words (commandline -opc)
    test (count $words) -ge 2; or return
    egress-bpf $words[2] --help 2>/dev/null | sed -n 's/^  \(-[a-zA-Z], \)\{0,1\}\(--[a-z-]*\).*/\2/p'
    egress-bpf $words[2] --help 2>/dev/null | sed '/^$/q' | grep -oE -e '--[a-z][a-z-]*'
end

function __egress_bpf_bottles
    ls /sys/fs/bpf/egress-bpf 2>/dev/null
end

complete -c egress-bpf -n __fish_use_subcommand -f -a '(__egress_bpf_commands)'
complete -c egress-bpf -n __fish_use_subcommand -l help -d 'what there is'
complete -c egress-bpf -n __fish_use_subcommand -l version -d 'version and what it is built with'
complete -c egress-bpf -n 'not __fish_use_subcommand; and string match -q -- "-*" (commandline -ct)' \
    -a '(__egress_bpf_options)'
complete -c egress-bpf -n '__fish_seen_subcommand_from status detach events pending allow deny' -f -a '(__egress_bpf_bottles)'
complete -c egress-bpf -n '__fish_seen_subcommand_from ca' -f -a init
complete -c egress-bpf -n '__fish_seen_subcommand_from exec; and contains -- -- (commandline -opc)' \
    -a '(__fish_complete_subcommand --fcs-skip=2)'
