"""``poms completion bash`` and ``zsh``: a script by which the shell completes commands and options.

Made from the command line itself, so it cannot fall behind it; it starts no program and asks no server.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from poms.webservice.rules import shell

BASH = """\
# Completion of the command poms. Use it with:  source <(poms completion bash)
_poms_words() {{
    case "$1" in
{cases}
    esac
}}
_poms() {{
    local place="" word known current="${{COMP_WORDS[COMP_CWORD]}}"
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        known=" $(_poms_words "$place") "
        if [[ $word != -* && $known == *" $word "* ]]; then place="$place/$word"; fi
    done
    known="$(_poms_words "$place ${{COMP_WORDS[COMP_CWORD-1]}}")"
    COMPREPLY=($(compgen -W "${{known:-$(_poms_words "$place")}}" -- "$current"))
}}
complete -o default -F _poms poms
"""

ZSH = """\
#compdef poms
# Completion of the command poms. Use it with:  source <(poms completion zsh)
_poms_words() {{
    case "$1" in
{cases}
    esac
}}
_poms() {{
    local place="" word
    local -a known
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        known=(${{=$(_poms_words "$place")}})
        if [[ $word != -* ]] && (( ${{known[(Ie)$word]}} )); then place="$place/$word"; fi
    done
    known=(${{=$(_poms_words "$place ${{words[CURRENT-1]}}")}})
    (( $#known )) || known=(${{=$(_poms_words "$place")}})
    compadd -- "${{(@)known}}" || _files
}}
if (( $+functions[compdef] )); then compdef _poms poms; fi
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH}


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser,
              make_parser: Callable[[], argparse.ArgumentParser]) -> None:
    text = "Print a script for the shell; use it with: source <(poms completion bash), or zsh"
    parser = verbs.add_parser("completion", help="print a script that completes commands in the shell",
                              description=text, parents=[common])
    parser.add_argument("shell", choices=tuple(SCRIPTS))
    parser.set_defaults(run=lambda arguments: _print(make_parser(), arguments.shell))


def _print(parser: argparse.ArgumentParser, shell_name: str) -> int:
    print(script(parser, shell_name), end="")
    return 0


def script(parser: argparse.ArgumentParser, shell_name: str = "bash") -> str:
    """The script for a shell."""
    cases = (f"        {shell.quote(place) if place else quoted_empty()}) echo {shell.quote(' '.join(words))};;"
             for place, words in places_of(parser))
    return SCRIPTS[shell_name].format(cases="\n".join(cases))


def quoted_empty() -> str:
    return "''"


def places_of(parser: argparse.ArgumentParser, place: str = "") -> Iterator[tuple[str, list[str]]]:
    """Each command (``/campaigns/list``), and each option with a choice (``/submissions/wait --until``), with the words
    that may follow it.
    """
    words: list[str] = []
    for option in parser._actions:
        if isinstance(option, argparse._SubParsersAction):
            words += option.choices
            for name, below in option.choices.items():
                yield from places_of(below, f"{place}/{name}")
        elif option.option_strings:
            if option.choices:
                yield from ((f"{place} {name}", [*map(str, option.choices)]) for name in option.option_strings)
            words += [each for each in option.option_strings if each.startswith("--")]
        elif option.choices:
            words += map(str, option.choices)
    yield place, words
