"""What the shells read: one function for each, which asks featcli about the words of the line."""

from __future__ import annotations

_BASH = r"""
# featcli: completion for bash
#   featcli completion bash > ~/.local/share/bash-completion/completions/featcli
# or, where bash-completion is not installed, in ~/.bashrc: source <(featcli completion bash)
_featcli() {
    local line path="" name=${1:-featcli} current=${COMP_WORDS[COMP_CWORD]}
    local IFS=$'\n'
    [[ $current == [=:] ]] && current=""
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            $'\t'*) line=${line#$'\t'}; path=${line%%$'\t'*} ;;
            *) COMPREPLY+=("$line") ;;
        esac
    done < <(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" _FEATCLI_COMPLETE=complete_bash \
        "${name/#\~\//${HOME-}/}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
    case $path in
        # bash 3.2, of macOS, has no compopt
        folder) compopt -o dirnames 2>/dev/null || COMPREPLY+=($(compgen -d -- "$current")) ;;
        file) compopt -o default 2>/dev/null || COMPREPLY+=($(compgen -f -- "$current")) ;;
        yaml)
            compopt -o filenames -o default 2>/dev/null
            while IFS= read -r line; do
                if [[ $line == *.yaml || $line == *.yml || -d ${line/#\~\//${HOME-}/} ]]; then
                    COMPREPLY+=("$line")
                fi
            done < <(compgen -f -- "$current")
            ;;
    esac
}
complete -F _featcli featcli
"""

_ZSH = r"""
#compdef featcli
# featcli: completion for zsh
#   featcli completion zsh > ~/.zfunc/_featcli
# with, in ~/.zshrc before compinit: fpath+=~/.zfunc
# or, after compinit: source <(featcli completion zsh)
_featcli() {
    local line value path_kind before
    local -a lines values keys
    lines=("${(@f)$(COMP_WORDS="${(F)words[1,CURRENT-1]}"$'\n'"$PREFIX" COMP_CWORD=$((CURRENT - 1)) \
        _FEATCLI_COMPLETE=complete_zsh ${~${(Q)words[1]}} 2>/dev/null)}")
    for line in $lines; do
        if [[ $line == $'\t'* ]]; then
            path_kind=${${line#$'\t'}%%$'\t'*}
            before=${line##*$'\t'}
            continue
        fi
        value=${${line%%$'\t'*}//:/\\:}
        [[ $line == *$'\t'* ]] && value+=":${line#*$'\t'}"
        if [[ ${line%%$'\t'*} == *= ]]; then keys+=("$value"); else values+=("$value"); fi
    done
    (( $#keys )) && _describe -t keys 'key' keys -S ''
    (( $#values )) && _describe -t values 'value' values
    if [[ -n $path_kind ]]; then
        [[ -n $before ]] && compset -p $#before
        case $path_kind in
            folder) _files -/ ;;
            yaml) _files -g '*.(yaml|yml)(-.)' ;;
            *) _files ;;
        esac
    fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _featcli "$@"
else
    compdef _featcli featcli
fi
"""

_FISH = r"""
# featcli: completion for fish
#   featcli completion fish > ~/.config/fish/completions/featcli.fish
function __featcli_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -lx COMP_CWORD (count $words)
    set -lx COMP_WORDS (string join -- \n $words "$current" | string collect)
    set -lx _FEATCLI_COMPLETE complete_fish
    set -l name (string replace -r '^~/' -- "$HOME/" $words[1])
    for line in (command $name 2>/dev/null)
        set -l parts (string split -- \t $line)
        if test -n "$parts[1]"
            echo $line
            continue
        end
        set -l rest (string sub -s (math (string length -- "$parts[3]") + 1) -- "$current")
        switch $parts[2]
            case folder
                string replace -r '^' -- "$parts[3]" (__fish_complete_directories "$rest" '')
            case yaml
                string match -r -- '.*(?:/|\.ya?ml)(?:\t.*)?$' (__fish_complete_path "$rest" '')
            case '*'
                string replace -r '^' -- "$parts[3]" (__fish_complete_path "$rest" '')
        end
    end
end
complete -c featcli -f -k -a '(__featcli_complete)'
"""

SCRIPTS = {"bash": _BASH.lstrip(), "zsh": _ZSH.lstrip(), "fish": _FISH.lstrip()}
