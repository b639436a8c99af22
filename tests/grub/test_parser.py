"""How words become commands, and what is left of a file with errors in it."""

from __future__ import annotations

from tests.grub.behaviour import behaviours

TABLE = {
    "newlines and semicolons end commands": ("p a; p b\np c", "1:<a>\n1:<b>\n1:<c>\n"),
    "a line with one error runs nothing of it": ("p a; p 5$; p b\np c", "1:<c>\n"),
    "commands before a broken line have run": ("p a\np 5$\np b", "1:<a>\n1:<b>\n"),
    "an if needs a command": ("if then p a; fi\np b", "1:<b>\n"),
    "a then needs a command": ("if true; then\nfi\np b", "1:<b>\n"),
    "an else needs a command": ("if true; then p a; else\nfi\np b", "1:<b>\n"),
    "the rest of a broken if runs by itself": (
        "if 5$; then\np a\nelse\np b\nfi\np c",
        "1:<a>\n1:<b>\n1:<c>\n",
    ),
    "what an error follows in a compound is lost": (
        "if true; then\np a\np 5$\np b\nfi\np c",
        "1:<b>\n1:<c>\n",
    ),
    "then may stand on its own line": ("if true\nthen\np a\nfi", "1:<a>\n"),
    "else may be followed by a command": ("if false; then p a; else p b; fi", "1:<b>\n"),
    "elif is an if of its own": (
        "if false; then p a; elif true; then p b; else p c; fi",
        "1:<b>\n",
    ),
    "compounds need a separator between them": (
        "if true; then p a; fi if true; then p b; fi\np c",
        "1:<c>\n",
    ),
    "ifs may be nested": ("if true; then if false; then p a; else p b; fi; fi", "1:<b>\n"),
    "for goes through words": ("for x in a b; do p $x; done", "1:<a>\n1:<b>\n"),
    "for without words runs nothing": ("for x in; do p $x; done; p c", "1:<c>\n"),
    "the do of a for may stand on its own line": ("for x in a\ndo\np $x\ndone", "1:<a>\n"),
    "the variable of a for must be a name": ("for 1x in a; do p b; done\np c", "1:<c>\n"),
    "while needs a body": ("while false; do done\np c", "1:<c>\n"),
    "a function is defined and called": ("function f { p $1; }\nf a", "1:<a>\n"),
    "the brace of a function may stand on its own line": ("function f\n{\np a\n}\nf", "1:<a>\n"),
    "the last command of a function needs an end": ("function f { p a }\np b", "1:<b>\n"),
    "a shell's way to define functions is none": ("f() { p a; }\np b", "1:<b>\n"),
    "a function is not defined in an if": (
        "if true; then\nfunction f { p a; }\nfi\nf\np b",
        "1:<b>\n",
    ),
    "a function is defined though its line is broken": ("function f { p a; } 5$\nf", "1:<a>\n"),
    "a later definition replaces a function": (
        "function f { p a; }\nfunction f { p b; }\nf",
        "1:<b>\n",
    ),
    "the name of a function must be a name": ("function a-b { p a; }\na-b\np c", "1:<c>\n"),
    "an empty function is an error": ("function f { }\np a", "1:<a>\n"),
    "a block needs no blank before its first command": ("menuentry a {true; }\np b", "1:<b>\n"),
    "a block's last command needs no semicolon": ("menuentry a { true }\np $?", "1:<0>\n"),
    "a block is an argument of any command": ("p a {\np }", "2:<a><{\np }>\n"),
    "a block is the last argument": ("menuentry a { true; } b\np c", "1:<c>\n"),
    "an exclamation mark turns the status": ("! true; p $?; ! false; p $?", "1:<1>\n1:<0>\n"),
    "an unclosed quote swallows the rest": ("p a\np 'b\np c", "1:<a>\n"),
    "an unclosed if runs nothing": ("p a\nif true; then\np b", "1:<a>\n"),
}
test_kexec_hook, test_grub_emu, running = behaviours(TABLE)
