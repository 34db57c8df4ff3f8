# SPDX-License-Identifier: MIT
#
# Completion of shimportctl(1) for bash. The commands and their options are asked of the program itself.

_shimportctl_interpreters() {
        compgen -c python3 | grep -E '^python3(\.[0-9]+)?$' | sort -u
}

_shimportctl() {
        local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command='' i
        COMPREPLY=()

        for ((i = 1; i < COMP_CWORD; i++)); do
                case ${COMP_WORDS[i]} in
                --socket) ((i++)) ;;
                --) break ;;
                -*) ;;
                *)
                        command=${COMP_WORDS[i]}
                        break
                        ;;
                esac
        done

        case $previous in
        --socket)
                mapfile -t COMPREPLY < <(compgen -f -- "$current")
                return
                ;;
        --path)
                mapfile -t COMPREPLY < <(compgen -d -- "$current")
                return
                ;;
        --python)
                mapfile -t COMPREPLY < <(compgen -W "$(_shimportctl_interpreters)" -- "$current"; compgen -f -- "$current")
                return
                ;;
        esac

        if [ "$command" = run ] && [[ $previous != run || $current != -* ]]; then
                mapfile -t COMPREPLY < <(compgen -c -- "$current"; compgen -f -- "$current")
        elif [[ $current == -* ]]; then
                # shellcheck disable=SC2086 # no command is no word
                mapfile -t COMPREPLY < <(compgen -W "$(shimportctl $command --help 2>/dev/null |
                        grep -oE '^ +--[a-z-]+' | tr -d ' ')" -- "$current")
        elif [ -z "$command" ]; then
                mapfile -t COMPREPLY < <(compgen -W "$(shimportctl --help 2>/dev/null |
                        sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p')" -- "$current")
        fi
}

complete -o filenames -F _shimportctl shimportctl
