"""Completions for bash, zsh and fish, from the command line's own parsers; entries and the like are asked for."""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import argparse
from collections.abc import Iterator

from kexec_hook.commands import options as known

# What a metavar stands for: a kind of `kexec-hook candidates`, or of what shells know by themselves.
KINDS = {
    "DIR": "directories",
    "DIR[:UUID[:LABEL]]": "directories",
    "FILE": "files",
    "SPEC": "entries",
    "RELEASE": "releases",
    "TOPIC": "topics",
}


def everywhere() -> list[argparse.Action]:
    parser = known.Parser(add_help=False)
    known.add_everywhere(parser)
    return parser._actions


def own(name: str) -> list[argparse.Action]:
    """The options and arguments of one command."""
    shared = {action.dest for action in everywhere()}
    actions = known.make_parser(name)._actions
    return [action for action in actions if action.dest not in {*shared, "help"}]


def words_of(action: argparse.Action) -> list[str]:
    return list(map(str, action.choices or ()))


def kind(action: argparse.Action) -> str:
    """How the value is completed; empty where nothing can be, or there is none."""
    if action.choices:
        return "words"
    return KINDS.get(str(action.metavar), "") if action.nargs != 0 else ""


# bash


_BASH = r"""# Completions of kexec-hook for bash.
_kexec_hook() {
    local line=${COMP_LINE:0:COMP_POINT} cur prev word value='' command='' kind='' given='' found
    local -a words root=()
    read -ra words <<< "$line"
    [[ $line != *[[:space:]] ]] || words+=('')
    cur=${words[-1]}
    prev=${words[-2]}
    # Words that are split by = are one to us; bash replaces what is behind it alone.
    if [[ $cur == --*=* ]]; then prev=${cur%%=*} cur=${cur#*=}; fi
    for word in "${words[@]:1:${#words[@]}-2}"; do
        if [[ $value ]]; then
            [[ $value != --root ]] || root=(--root "$word")
            value=''
        elif [[ $word == --root=* ]]; then root=("$word")
        elif [[ ' @VALUED@ ' == *" $word "* ]]; then value=$word
        elif [[ $word != -* ]]; then command=${command:-$word}
        fi
    done
    case $command:$prev in
@VALUES@
        *)
            case $command in
@COMMANDS@
            esac
            [[ $cur == -* ]] || given=${given#*|}
            given=${given%%|*}
            ;;
    esac
    COMPREPLY=()
    case $kind in
        files) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        directories) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
        entries | releases | topics)
            while IFS=$'\t' read -r found _; do
                [[ $found != "${cur//\\/}"* ]] || COMPREPLY+=("$(printf %q "$found")")
            done < <("${words[0]}" "${root[@]}" candidates "$kind" 2> /dev/null)
            ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$given" -- "$cur") ;;
    esac
}
complete -F _kexec_hook kexec-hook
"""


def bash() -> str:
    values, commands = [], []
    shared = " ".join(name for action in everywhere() for name in action.option_strings)
    for action in everywhere():
        values += _bash_value("*", action)
    for name in known.COMMANDS:
        arguments, options = "", shared
        then = ""
        for action in own(name):
            values += _bash_value("" if name == known.DEFAULT else name, action)
            if action.option_strings:
                options = " ".join([*action.option_strings, options])
            elif kind(action) == "words":
                arguments = " ".join(words_of(action))
            else:
                then = f"[[ $cur == -* ]] || kind={kind(action) or 'nothing'}; "
        commands.append(f"{name}) {then}given='{options}|{arguments}' ;;")
    default = " ".join(name for action in own(known.DEFAULT) for name in action.option_strings)
    plain = " ".join(name for name, c in known.COMMANDS.items() if c.group != known.PLUMBING)
    commands.append(f"'') given='{default} {shared}|{plain}' ;;")
    text = _BASH.replace("@VALUED@", " ".join(sorted(valued())))
    text = text.replace("@VALUES@", "\n".join(f"        {line}" for line in values))
    return text.replace("@COMMANDS@", "\n".join(f"                {line}" for line in commands))


def valued() -> set[str]:
    actions = [action for name in known.COMMANDS for action in [*own(name), *everywhere()]]
    return {name for action in actions if action.nargs != 0 for name in action.option_strings}


def _bash_value(command: str, action: argparse.Action) -> Iterator[str]:
    if action.nargs == 0 or not action.option_strings:
        return
    pattern = " | ".join(f"{command}:{name}" for name in action.option_strings)
    given = f" given='{' '.join(words_of(action))}'" if action.choices else ""
    yield f"{pattern}) kind={kind(action) or 'nothing'}{given} ;;"


# zsh


_ZSH = r"""#compdef kexec-hook
# Completions of kexec-hook for zsh.
_kexec_hook_ask() {
    local line word kind=$argv[-1]  # _arguments puts options before it
    local -a found root
    integer at=${words[(I)--root]}
    (( at )) && root=(--root ${(Q)words[at+1]})
    at=${words[(I)--root=*]}
    (( at )) && root=(${(Q)words[at]})
    for line in ${(f)"$(${(Q)words[1]} $root candidates $kind 2> /dev/null)"}; do
        word=${line%%$'\t'*}
        found+=("${word//:/\\:}:${line#*$'\t'}")
    done
    _describe -t $kind $kind found
}
_kexec_hook() {
    local word value command
    for word in "${(@)words[2,CURRENT-1]}"; do
        if [[ -n $value ]]; then value=
        elif [[ ' @VALUED@ ' == *" $word "* ]]; then value=$word
        elif [[ $word != -* ]]; then command=${command:-$word}
        fi
    done
    local -a everywhere commands
    everywhere=(
@EVERYWHERE@
    )
    commands=(
@NAMES@
    )
    case $command in
@COMMANDS@
        *) _arguments $everywhere '*::command:->done' ;;
    esac
}
_kexec_hook "$@"
"""


def zsh() -> str:
    names = [
        zsh_quoted(f"{name}:{command.help}")
        for name, command in known.COMMANDS.items()
        if command.group != known.PLUMBING
    ]
    shared = [_zsh_spec(action, 0) for action in everywhere()]
    first = "'1:command:{ _describe -t commands command commands }'"
    default = [_zsh_spec(action, 0) for action in own(known.DEFAULT)]
    cases = [f"'') _arguments $everywhere {' '.join(default)} {first} ;;"]
    for name in known.COMMANDS:
        specs, at = ["'1: :'"], 2
        for action in own(name):
            specs.append(_zsh_spec(action, at))
            at += not action.option_strings
        cases.append(f"{name}) _arguments $everywhere {' '.join(specs)} ;;")
    text = _ZSH.replace("@VALUED@", " ".join(sorted(valued())))
    text = text.replace("@EVERYWHERE@", "\n".join(f"        {line}" for line in shared))
    text = text.replace("@NAMES@", "\n".join(f"        {line}" for line in names))
    return text.replace("@COMMANDS@", "\n".join(f"        {line}" for line in cases))


def _zsh_spec(action: argparse.Action, at: int) -> str:
    what = {
        "words": f"({' '.join(words_of(action))})",
        "files": "_files",
        "directories": "_files -/",
        "": " ",
    }.get(kind(action), f"_kexec_hook_ask {kind(action)}")
    name = str(action.metavar or action.dest).lower().partition("[")[0]
    value = f":{name}:{what}"
    if not action.option_strings:
        place = "*" if action.nargs == "*" else f"{at}:" if action.nargs == "?" else str(at)
        return zsh_quoted(f"{place}{value}")
    about = (action.help or "").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    short, *long = action.option_strings
    names = "{" + ",".join(action.option_strings) + "}" if long else short
    equals = "=" if action.nargs != 0 else ""
    if equals and not long:
        names += equals
    return f"{names}{zsh_quoted(f'[{about}]{value if equals else str()}')}"


def zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# fish


_FISH = """# Completions of kexec-hook for fish.
function __kexec_hook_root
    set -l words (commandline -opc)
    for at in (seq (count $words))
        if test "$words[$at]" = --root
            printf '%s\\n' --root $words[(math $at + 1)]
        else if string match -q -- '--root=*' $words[$at]
            printf '%s\\n' $words[$at]
        end
    end
end
function __kexec_hook_command --argument-names wanted
    set -l words (commandline -opc)
    set -l value
    for word in $words[2..-1]
        if test -n "$value"
            set value
        else if contains -- $word @VALUED@
            set value yes
        else if not string match -q -- '-*' $word
            test "$word" = "$wanted"
            return
        end
    end
    test -z "$wanted"
end
complete -c kexec-hook -f
"""


def fish() -> str:
    lines = [_FISH.rstrip().replace("@VALUED@", " ".join(sorted(valued())))]
    for action in everywhere():
        lines.append(_fish("", action))
    for action in own(known.DEFAULT):
        lines.append(_fish("__kexec_hook_command", action))
    for name, command in known.COMMANDS.items():
        if command.group != known.PLUMBING:
            about = f"-a {name} -d {fish_quoted(command.help)}"
            lines.append(f"complete -c kexec-hook -n __kexec_hook_command {about}")
        lines += [_fish(f"__kexec_hook_command {name}", action) for action in own(name)]
    return "\n".join(lines) + "\n"


def _fish(condition: str, action: argparse.Action) -> str:
    words = ["complete -c kexec-hook", f"-n '{condition}'" if condition else ""]
    for name in action.option_strings:
        words.append(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}")
    given = {
        "words": " ".join(words_of(action)),
        "files": "(__fish_complete_path)",
        "directories": "(__fish_complete_directories)",
    }.get(kind(action), f"(kexec-hook (__kexec_hook_root) candidates {kind(action)} 2> /dev/null)")
    if action.option_strings and action.nargs != 0:
        words.append("-x")
    if kind(action):
        words.append(f"-a {fish_quoted(given)}")
    if action.option_strings:
        words.append(f"-d {fish_quoted(action.help or '')}")
    return " ".join(filter(None, words))


def fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
