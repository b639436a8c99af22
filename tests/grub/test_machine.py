"""What running does: variables, status, control flow, functions, contexts."""

from __future__ import annotations

from tests.grub.behaviour import behaviours

TABLE = {
    "an unset variable is no word": ("p $nope ${nope} a", "1:<a>\n"),
    "a quoted unset variable is an empty word": ('p "$nope" a', "2:<><a>\n"),
    "a bare variable is split": ('v=" a  b "; p $v', "2:<a><b>\n"),
    "a quoted variable is not": ('v=" a  b "; p "$v"', "1:< a  b >\n"),
    "text joins the first and last piece": ('v="a b"; p x${v}y', "2:<xa><by>\n"),
    "a value is not read again": ("v='$x \"'; p $v", '2:<$x><">\n'),
    "an assignment takes one word": ("v=a b; p $v", "1:<a>\n"),
    "an assignment before a command runs no command": ("v=a p b; p $v", "1:<a>\n"),
    "a value may hold equals signs": ("v=a=b; p $v", "1:<a=b>\n"),
    "set assigns as well": ('set v="a b"; p "$v"', "1:<a b>\n"),
    "set takes one assignment": ("set v=a w=b; p $v $w", "1:<a>\n"),
    "set without equals is an error": ("set v; p $?", "1:<18>\n"),
    "a name that begins with a digit cannot be set": ("1a=x; p $?", "1:<0>\n"),
    "root loses its parentheses": ("root='(hd9)'; p $root", "1:<hd9>\n"),
    "an unknown command has status 0": ("false; nosuch; p $?", "1:<0>\n"),
    "an unknown command is true for if": ("if nosuch; then p a; fi", "1:<a>\n"),
    "a failing command has its error's number": (
        "search --file /nope; p $?; set x; p $?",
        "1:<5>\n1:<18>\n",
    ),
    "an assignment leaves the status": ("false; v=a; p $?", "1:<0>\n"),
    "an if without a branch taken has the status of its condition": (
        "if false; then true; fi; p $?",
        "1:<0>\n",
    ),
    "while runs as long as": ("v=; while [ x$v != xaaa ]; do v=a$v; done; p $v", "1:<aaa>\n"),
    "until runs as long as not": ("v=; until [ x$v = xaaa ]; do v=a$v; done; p $v", "1:<aaa>\n"),
    "break leaves a loop": ("for x in a b; do p $x; break; done", "1:<a>\n"),
    "break leaves as many loops as it says": (
        "for x in a b; do for y in c d; do p $x$y; break 2; done; done",
        "1:<ac>\n",
    ),
    "continue skips the rest": ("for x in a b; do continue; p $x; done; p c", "1:<c>\n"),
    "the words of a for are expanded once": (
        "v='a b'; for x in $v c; do v=z; p $x; done",
        "1:<a>\n1:<b>\n1:<c>\n",
    ),
    "return leaves a function with a status": ("function f { return 3; p a; }\nf; p $?", "1:<3>\n"),
    "return outside of a function is an error": ("return 3; p $?", "1:<18>\n"),
    "a function has the status of its last command": ("function f { false; }\nf; p $?", "1:<1>\n"),
    "parameters are of a function": (
        "function f { p $1 $# ; }\nf 'a b' c; p $1",
        "3:<a><b><2>\n0:\n",
    ),
    "shift drops parameters": (
        "function f { shift; p $@; shift 2; p $@; }\nf a b c d",
        "3:<b><c><d>\n1:<d>\n",
    ),
    "quoted @ keeps the words": ("function f { p \"$@\"; }\nf 'a b' c", "2:<a b><c>\n"),
    "quoted * joins them": ("function f { p \"$*\"; }\nf 'a b' c", "1:<a b c>\n"),
    "variables are global": ("function f { v=b; }\nv=a; f; p $v", "1:<b>\n"),
    "a command goes before a function of its name": (
        "function true { p a; }\ntrue; p $?",
        "1:<0>\n",
    ),
    "a function goes before an assignment": ("function f { p a; }\nf=b; p $f", "1:<b>\n"),
    "a recursion ends at 64 nodes": (
        "n=; function f { n=x$n; f; }\nf; p $n",
        "1:<xxxxxxxxxxxxxxxxxxxxxxxxxxxxx>\n",
    ),
    "unset forgets": ("v=a; unset v; p $v", "0:\n"),
    "eval reads its words again": ("v='p $w'; w=a; eval $v", "1:<a>\n"),
    "eval joins its words by blanks": ("eval p a\\; p b", "1:<a>\n1:<b>\n"),
    "the status of a loop is that of its last run": ("for x in a; do false; done; p $?", "1:<1>\n"),
    "exported variables are listed by export": ("export v; p $?", "1:<0>\n"),
    "wildcards of variables are expanded": ("insmod regexp; v='/g/a*'; p $v", "2:</g/a1></g/a2>\n"),
    "quoted wildcards are not": (
        "insmod regexp; p '/g/a*' \"/g/a*\" /g/a\\*",
        "3:</g/a*></g/a*></g/a*>\n",
    ),
    "a wildcard that matches nothing stays": ("insmod regexp; p /g/x*", "1:</g/x*>\n"),
    "only words that begin as paths have wildcards": ("insmod regexp; p g/a* a*", "2:<g/a*><a*>\n"),
}
test_kexec_hook, test_grub_emu, running = behaviours(TABLE)
