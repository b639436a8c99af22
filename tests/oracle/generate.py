"""Random GRUB scripts and menus from a seed: what people write, what they get wrong, and what nobody would write.

Nothing here can run for ever in GRUB, nor reach hardware: loops count in variables that nothing else sets, a function
calls only functions defined before it, and the commands are those of scripting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from tests.grubcfg import LOADED, SAVEDEFAULT, one_time_entry
from tests.oracle.envblock import SIGNATURE
from tests.oracle.world import BLOCK_FOLLOWS

HELPER = 'function p { echo -n "$#:"; for a in "$@"; do echo -n "<$a>"; done; echo; }\n'
NAMES = ("v", "w", "x", "y", "z", "v1", "_a", "Long_name", "root_dir")
PLAIN = (
    *(
        "a",
        "b",
        "foo",
        "bar",
        "x=1",
        "root=UUID=1-2",
        "ro",
        "quiet",
        "0",
        "1",
        "07",
        "0x1f",
        "-1",
        "--flag",
        "-n",
        "-e",
    ),
    *(
        "a#b",
        "#",
        "a=b=c",
        "{x}",
        "a{b}c",
        "%s",
        "~",
        "^",
        "@",
        "a,b",
        "é",
        "☃",
        "?",
        "a*",
        "]",
        "!",
        "a!b",
        "-",
    ),
    *(
        "console=ttyS0,115200",
        "/boot/vmlinuz-6.1",
        "(hd0,gpt1)/g/a1",
        "vmlinuz-10",
        "in",
        "fi",
        "then",
        "done",
        "}x",
        "\udcff",
        "\udcc3",
    ),
)
GLOBS = (
    "/g/*",
    "/g/a?",
    "/g/[ab]1",
    "/*/a1",
    "/g/*/c1",
    "(hd0,gpt1)/g/a*",
    "/g/nope*",
    "/g/?1",
    "/g\\*",
)
PATHS = (
    "/g/a1",
    "/g/a2",
    "/g/b1",
    "/g/sub",
    "/g/sub/c1",
    "/boot/empty",
    "/boot/non_empty",
    "/nope",
    "/",
    "/g/",
    "/g/a1/",
)
TOKENS = (
    *(
        "if",
        "then",
        "else",
        "elif",
        "fi",
        "fi",
        "for",
        "in",
        "do",
        "done",
        "done",
        "until",
        "function",
        "{",
        "}",
        "}",
    ),
    *(
        ";",
        ";",
        ";",
        "\n",
        "\n",
        "p a",
        "p b;",
        "p",
        "true",
        "true;",
        "x",
        "for i in a b; do",
        "if true; then",
        "fi;",
    ),
    *(
        "function f {",
        "f",
        "menuentry m {",
        "'",
        '"',
        "'a",
        'b"',
        "\\",
        "\\\n",
        "#",
        "# c",
        "$",
        "$v",
        "${v}",
        "${",
        "$1",
    ),
    *(
        "&&",
        "||",
        "|",
        "&",
        "<",
        ">",
        ";;",
        "[[",
        "]]",
        "case",
        "esac",
        "select",
        "(",
        ")",
        "done;",
        "p $i;",
        "v=1",
        "}x",
    ),
    *(
        "p done",
        "p fi }",
        "{ p c; }",
        "then p",
        "\n}\n",
        "\nfi\n",
        "\ndone\n",
        '"$v"',
        "'x'",
        '$"y"',
        "a=b c",
        "eval",
    ),
)
TEST_WORDS = (
    *(
        "a",
        "b",
        '""',
        "1",
        "2",
        "!",
        "!",
        "-a",
        "-o",
        "-o",
        "=",
        "!=",
        '"<"',
        '">="',
        "-eq",
        "-lt",
        "-f",
        "-d",
        "-e",
    ),
    *(
        "-s",
        "-n",
        "-z",
        '"("',
        '")"',
        "]",
        "/g/a1",
        "/g",
        "/nope",
        "$v",
        '"$w"',
        "$#",
        "-nt",
        "-pgt",
        "-gt",
        "08",
        "-1",
    ),
)
BROKEN = (
    *(
        "fi",
        "done",
        "}",
        ")",
        "then",
        "else",
        "elif true; then",
        "do",
        "in",
        "case a in",
        "if",
        "while",
        "for",
        "esac",
    ),
    *(
        "p a && p b",
        "p a || p b",
        "p a | p b",
        "p a & p b",
        "p a > b",
        "p a < b",
        "p a ;; p b",
        "p $",
        'p "$"',
        "p $-",
    ),
    *(
        'p "unterminated',
        "p 'unterminated",
        "p a \\",
        "{ p a; }",
        "function {",
        "function 1x { p; }",
        "if true p a; fi",
    ),
    *(
        "p ${x",
        "p ${x:-y}",
        "p $(ls)",
        "p `ls`",
        "((1+1))",
        "[[ a ]]",
        "if ; then p a; fi",
        "; p a",
        "p a ; ; p b",
    ),
    *(
        "if true; then fi",
        "for x in; do p $x; done",
        "for x in a b do p $x; done",
        "while false; do done",
        "p a )(",
    ),
    *(
        "select x in a; do p; done",
        "until",
        "p {",
        "p } b",
        "f() { p a; }",
        "!",
        "! !",
        "$unset",
        "''",
        '""',
        "nosuch p a",
    ),
)


@dataclass
class _State:
    functions: int = 0
    counters: int = 0
    in_function: bool = False
    in_loop: int = 0
    depth: int = 0


@dataclass
class Scripts:
    """Random scripts; each line of a script is one entry of the list, so that a case can be made smaller."""

    random: Random
    state: _State = field(default_factory=_State)
    clean: bool = True
    shallow: bool = False  # no compounds as deep as GRUB goes: a configuration that is sourced is two levels deeper

    def script(self) -> bytes:
        self.state = _State()
        self.clean = self.random.random() < 0.6
        lines = HELPER.split("\n")[:-1]
        for _ in range(self.random.randint(3, 14)):
            lines += self.statement()
        if not self.clean and self.random.random() < 0.2:
            lines.append(
                self.random.choice(
                    ("if true; then", "p 'open", "function g {", "p a \\", 'p "', "for x in a")
                )
            )
        end = "\r\n" if self.random.random() < 0.1 else "\n"
        text = end.join(lines)
        if self.random.random() < 0.9:
            text += end
        return text.encode("utf-8", "surrogateescape")

    def grammar(self) -> bytes:
        """What the grammar is made of, in no order; `until` ends at once, since nothing here is false."""
        random = self.random
        lines = [HELPER.rstrip()]
        for _ in range(random.randint(2, 12)):
            tokens = [random.choice(TOKENS) for _ in range(random.choice((1, 2, 3, 5, 8, 13)))]
            lines.append(
                "".join(token + random.choice((" ", " ", " ", "", "\t")) for token in tokens)
            )
            lines += [f"p line{len(lines)}"] if random.random() < 0.5 else []
        return ("\n".join(lines) + random.choice(("\n", "\n", ""))).encode()

    # Words

    def variable(self) -> str:
        roll = self.random.random()
        if roll < 0.6:
            name = self.random.choice(NAMES)
        elif roll < 0.8:
            name = self.random.choice(("@", "*", "#", "?", "1", "2", "3", "10", "0"))
        else:
            name = self.random.choice(("undefined", "root", "prefix", "grubshell", "u1"))
        if self.random.random() < 0.35:
            return "${" + name + "}"
        return "$" + name

    def piece(self) -> str:
        pick = self.random.random()
        random = self.random
        if pick < 0.30:
            return random.choice(PLAIN)
        if pick < 0.50:
            return self.variable()
        if pick < 0.68:
            return '"' + "".join(self.inside() for _ in range(random.randint(0, 3))) + '"'
        if pick < 0.80:
            return (
                "'"
                + "".join(
                    random.choice(("a b", "$v", "\\", '"', "#", " ", "x*", "e", "}", "&"))
                    for _ in range(2)
                )
                + "'"
            )
        if pick < 0.88:
            return "\\" + random.choice(
                (" ", "$", '"', "'", "\\", "n*", "?", "#", ";", "&", "n", "x41", "{", "}", "|", "<")
            )
        if pick < 0.93:
            return random.choice(GLOBS)
        if pick < 0.95:
            return '$"' + random.choice(("hallo", "a $v b", 'q\\"q', "\\\\", "x\\ny", "")) + '"'
        return random.choice(("#", "=", ".", "/", ":", "+", "%", "]", "["))

    def inside(self) -> str:
        random = self.random
        choices = (
            "a",
            " ",
            "  ",
            "b c",
            "\\$",
            '\\"',
            "\\\\",
            "\\a",
            "\\x20",
            "'",
            "#",
            ";",
            "x*",
            "{",
            "}",
            "é",
            "\t",
            "&",
            "=",
        )
        if random.random() < 0.35:
            return self.variable()
        if random.random() < 0.04:
            return "\n"
        if random.random() < 0.04:
            return "\\\n"
        return random.choice(choices)

    def word(self) -> str:
        return "".join(self.piece() for _ in range(self.random.choice((1, 1, 1, 2, 2, 3))))

    def words(self, least: int = 0, most: int = 4) -> str:
        found = [self.word() for _ in range(self.random.randint(least, most))]
        glue = [self.random.choice((" ", " ", " ", "  ", "\t", " \\\n ")) for _ in found]
        return "".join(space + word for space, word in zip(glue, found))

    # Conditions

    def operand(self) -> str:
        choices = (
            "a",
            "b",
            "1",
            "2",
            "10",
            "010",
            "0x10",
            "-3",
            '""',
            "abc",
            "vmlinuz-2",
            "vmlinuz-11",
            '"a b"',
            "-n",
            "=",
            "!",
        )
        if self.random.random() < 0.4:
            return self.random.choice(('"%s"', "%s")) % self.variable()
        return self.random.choice(choices)

    def soup(self) -> str:
        """Words that mean something to `test`, in no order."""
        return " ".join(self.random.choice(TEST_WORDS) for _ in range(self.random.randint(1, 7)))

    def test(self, depth: int = 0) -> str:
        random = self.random
        if random.random() < 0.12:
            return self.soup()
        pick = random.random()
        if pick < 0.35:
            operator = random.choice(
                (
                    "=",
                    "==",
                    "!=",
                    "-eq",
                    "-ne",
                    "-lt",
                    "-le",
                    "-gt",
                    "-ge",
                    '"<"',
                    '"<="',
                    '">"',
                    '">="',
                )
            )
            return f"{self.operand()} {operator} {self.operand()}"
        if pick < 0.55:
            return f"{random.choice(('-f', '-d', '-e', '-s'))} {random.choice(PATHS)}"
        if pick < 0.68:
            return f"{random.choice(('-z', '-n'))} {self.operand()}"
        if pick < 0.74:
            operator = random.choice(("-nt", "-ot", "-nt600", "-ot-600"))
            return f"{random.choice(PATHS[:7])} {operator} {random.choice(PATHS[:7])}"
        if pick < 0.78:
            return f"vmlinuz-{random.randint(1, 20)} {random.choice(('-pgt', '-plt'))} vmlinuz-{random.randint(1, 20)}"
        if pick < 0.86:
            return f"! {self.test(depth + 1)}"
        if depth < 3 and pick < 0.97:
            if random.random() < 0.3:
                return f'"(" {self.test(depth + 1)} ")"'
            return (
                f"{self.test(depth + 1)} {random.choice(('-a', '-o', ''))} {self.test(depth + 1)}"
            )
        return random.choice(("", "a b", "-a", "-o", "=", "! !", "a =", "-f", "-x a", "-L /g"))

    def condition(self) -> str:
        random = self.random
        pick = random.random()
        if pick < 0.45:
            close = " ]" if self.clean or random.random() < 0.8 else ""
            return f"{random.choice(('', '', '! '))}[ {self.test()}{close}"
        if pick < 0.55:
            return f"test {self.test()}"
        if pick < 0.75:
            return random.choice(("true", "false", "! true", "! false", "! nosuch"))
        if pick < 0.82:
            return f"regexp {random.choice(('^a', 'b$', '[0-9]+', '(a|b)*', '.', 'x{2}', '['))} {self.operand()}"
        if pick < 0.9:
            return random.choice(
                (
                    "nosuch",
                    "set x=1",
                    "v=1",
                    "unset v",
                    "search -f /g/a1 --set=q",
                    "search -f /nope --set=q",
                )
            )
        return f"true; {self.condition()}"

    # Regular expressions

    def pattern(self, depth: int = 0) -> str:
        random = self.random
        parts = []
        for _ in range(random.randint(1, 4)):
            pick = random.random()
            if pick < 0.45:
                atom = random.choice(("a", "b", "c", "1", "-", "_", ".", " ", "ab"))
            elif pick < 0.6:
                atom = random.choice(
                    (
                        "[ab]",
                        "[^a]",
                        "[a-c]",
                        "[[:digit:]]",
                        "[0-9-]",
                        "[]a]",
                        "[^]]",
                        "[[:alpha:]_]",
                    )
                )
            elif pick < 0.66:
                atom = random.choice(("^", "$", "\\.", "\\w", "\\b", "\\(", "\\\\"))
            elif depth < 2:
                atom = f"({self.pattern(depth + 1)})"
            else:
                atom = "(a)"
            if random.random() < 0.4:
                atom += random.choice(("*", "+", "?", "{2}", "{1,2}", "{0}", "{,1}", "{1,}", "**"))
            parts.append(atom)
        text = "".join(parts)
        return f"{text}|{self.pattern(depth + 1)}" if depth < 2 and random.random() < 0.2 else text

    def match(self) -> str:
        subject = "".join(
            self.random.choice("aabbc1-_. ") for _ in range(self.random.randint(0, 8))
        )
        sets = " ".join(
            self.random.choice(("-s x", "-s 0:x", "--set=2:y", "--set 1:v", "-s 3:z"))
            for _ in range(2)
        )
        shown = '"$v" "$x" "$y" "$z"'
        return f"regexp {sets} -- '{self.pattern()}' '{subject}'; p $? {shown}; unset v; unset x; unset y; unset z"

    # Statements

    def deep(self) -> list[str]:
        """Compounds in one another, about as deep as GRUB goes (64 nodes), and recursion without an end."""
        random = self.random
        if random.random() < 0.3:
            name = f"r{self.state.counters}"
            self.state.counters += 1
            inner = random.choice(
                (
                    name,
                    f"if true; then {name}; fi",
                    f"for i in 1; do {name}; done",
                    f"{name} x; true",
                )
            )
            return [f"n=; function {name} {{ n=x$n; {inner}; }}", name, 'p $? "$n"']
        depth = random.choice((5, 10, 15, 18, 19, 20, 21, 25))
        opening = random.choice(
            ("if true; then ", "for i in 1 2; do ", "if false; then true; else ")
        )
        if opening.startswith("for"):
            depth = min(depth, 5)
        closing = "; done" if opening.startswith("for") else "; fi"
        return [opening * depth + "p deep" + closing * depth, "p $?"]

    def statement(self) -> list[str]:
        random = self.random
        self.state.depth += 1
        try:
            if self.state.depth > 4:
                return [self.simple()]
            pick = random.random()
            if pick < 0.5:
                return [self.simple()]
            if pick < 0.64:
                return self.branch()
            if pick < 0.73:
                return self.for_loop()
            if pick < 0.79:
                return self.while_loop()
            if pick < 0.88:
                return self.function()
            if pick < 0.89 and not self.shallow:
                return self.deep()
            if pick < 0.93:
                return [
                    random.choice(
                        (
                            "",
                            "# comment",
                            "  # $ \" '",
                            "p a # comment",
                            "p a#b",
                            "# ends in \\",
                            "\t",
                            "#",
                        )
                    )
                ]
            return [self.simple() if self.clean else random.choice(BROKEN)]
        finally:
            self.state.depth -= 1

    def simple(self) -> str:
        random = self.random
        line = self.command()
        while random.random() < 0.15:
            line += random.choice(("; ", ";", " ; ")) + self.command()
        if random.random() < 0.05:
            line += random.choice((";", " # end", ";;", " "))
        return random.choice(("", "", "", " ", "\t")) + line

    def command(self) -> str:
        random = self.random
        pick = random.random()
        name = random.choice(NAMES)
        if pick < 0.34:
            return f"p{self.words()}"
        if pick < 0.5:
            return (
                random.choice(("set ", "", ""))
                + f"{name}={self.word() if random.random() < 0.9 else ''}"
            )
        if pick < 0.56:
            return f"echo{random.choice(('', ' -n', ' -e', ' -n -e', ' --'))}{self.words()}"
        if pick < 0.60:
            return random.choice(
                (f"unset {name}", f"export {name}", "p $?", 'p "$?"', "nosuch; p $?", "false; p $?")
            )
        if pick < 0.65 and self.state.functions:
            return f"f{random.randrange(self.state.functions)}{self.words(0, 3)}"
        if pick < 0.70:
            return self.control()
        if pick < 0.74:
            return "eval " + random.choice(
                (self.words(1, 3), "'p $v'", '"p a; p b"', '"v=1"', '"if"', '""')
            )
        if pick < 0.79:
            return f"{random.choice(('[', 'test', '! ['))} {self.test()} ]; p $?"
        if pick < 0.81:
            return self.match()
        if pick < 0.83:
            group = random.choice(("", "1:", "2:", "0:"))
            pattern = random.choice(('"(.*)-(.*)"', "'([a-z]+)([0-9]*)'", '"^(.)"', "'b?'"))
            return f'regexp -s {group}{name} {pattern} {self.operand()}; p $? "${name}"'
        if pick < 0.86:
            return random.choice(
                (
                    "search --no-floppy --fs-uuid --set=q 11111111-2222-3333-4444-555555555555; p $? $q",
                    "search --label lab --set q; p $? $q",
                    "search -f /g/a1 -s q; p $? $q",
                    "search -u none -s q; p $? $q",
                    "search.file /g/a1 q; p $? $q",
                    "probe -u $root -s q; p $? $q",
                    "probe --label hd0,gpt1 --set=q; p $? $q",
                    'load_env -f /boot/env/e1; p "$saved_entry" "$esc"',
                    "load_env -f /boot/env/e1 saved_entry; p $saved_entry",
                    f"save_env -f /boot/env/e1 {name}; list_env -f /boot/env/e1",
                    "source /nope; p $?",
                    "set root=hd0,gpt9; p -f /g/a1; [ -f /g/a1 ]; p $?; set root=hd0,gpt1",
                    "menuentry 'm' { true; }; p $?",
                    "menuentry; p $?",
                    "true a b; p $?",
                    "shift x; p $?",
                )
            )
        if pick < 0.93:
            return f"p {random.choice(GLOBS)} {self.word()}"
        return f"p {self.word()}" if self.clean else f"{self.word()}{self.words(0, 2)}"

    def control(self) -> str:
        random = self.random
        choices = [
            "setparams x y z; p $#",
            'setparams "a b" $v; p $1',
            "shift; p $1",
            "shift 2; p $# $1",
        ]
        if self.state.in_function:
            choices += ["return", "return 0", "return 1", "return 2 3", "return x"]
        else:
            choices += ["return", "shift"]
        if self.state.in_loop:
            choices += ["break", "continue", "break 2", "continue 2"]
        return random.choice([*choices, "break", "continue", "break 0", "break x"])

    def body(self, indent: str = " ") -> list[str]:
        lines: list[str] = []
        for _ in range(self.random.randint(1, 3)):
            lines += self.statement()
        return [indent + line for line in lines]

    def joined(self, parts: list[list[str]], keywords: list[str]) -> list[str]:
        """Set keywords between the parts, over lines or on one."""
        if self.random.random() < 0.25 and all(
            "#" not in line and "\n" not in line for part in parts for line in part
        ):
            text = ""
            for keyword, part in zip(keywords, [*parts, []]):
                text += (
                    f"{keyword} {'; '.join(line.strip() for line in part if line.strip()) or 'true'}; "
                    if part
                    else keyword
                )
            return [text]
        lines: list[str] = []
        for keyword, part in zip(keywords, [*parts, []]):
            lines += [keyword, *part]
        return lines

    def branch(self) -> list[str]:
        random = self.random
        then = random.choice(("; then", " ; then", ";then"))
        keywords = [f"if {self.condition()}{then}"]
        parts = [self.body()]
        while random.random() < 0.3:
            keywords.append(f"elif {self.condition()}{then}")
            parts.append(self.body())
        if random.random() < 0.5:
            keywords.append("else")
            parts.append(self.body())
        return self.joined(parts, [*keywords, "fi"])

    def for_loop(self) -> list[str]:
        name = self.random.choice(("i", *NAMES))
        self.state.in_loop += 1
        body = self.body()
        self.state.in_loop -= 1
        return self.joined(
            [[f" p {name} ${name}", *body]], [f"for {name} in{self.words(1, 3)}; do", "done"]
        )

    def while_loop(self) -> list[str]:
        counter = f"c{self.state.counters}"
        self.state.counters += 1
        end = "x" * self.random.randint(1, 3)
        kind, test = self.random.choice((("while", "!="), ("until", "=")))
        self.state.in_loop += 1
        body = self.body()
        self.state.in_loop -= 1
        # One command both counts and decides, so that no error in the body can make the loop endless.
        return [
            f"{counter}=",
            f'{kind} [ "${counter}" {test} {end} ]; do {counter}=x${counter}',
            *body,
            "done",
        ]

    def function(self) -> list[str]:
        outer = self.state.in_function, self.state.in_loop
        self.state.in_function, self.state.in_loop = True, 0
        body = self.body()
        self.state.in_function, self.state.in_loop = outer
        name = f"f{self.state.functions}"
        self.state.functions += 1
        call = f"{name}{self.words(0, 3)}"
        return [f"function {name} {{", ' p in "$@"', *body, "}", call, "p $?"]


@dataclass
class Blocks:
    """Random environment blocks, mostly sound, and scripts that read and write them."""

    random: Random

    def block(self) -> bytes:
        random = self.random
        lines = [self.line() for _ in range(random.randint(0, 6))]
        text = SIGNATURE + b"".join(lines)
        size = random.choice(
            (1024, 1024, 1024, 1024, 1024, 2048, 512, len(text), len(text) + 1, len(text) + 20)
        )
        text += b"#" * (size - len(text))
        if random.random() < 0.12:
            at = random.randint(0, len(text))
            head, tail = text[:at], text[at:]
            text = random.choice(
                (head, tail, head + b"\n" + tail, head + b"=" + tail, text[1:], text + b"\n")
            )
        return text

    def line(self) -> bytes:
        random = self.random
        name = random.choice(
            (b"saved_entry", b"next_entry", b"v", b"w", b"x", b"v", b"with blank", b"", b"a.b")
        )
        pieces = (
            b"a",
            b"b c",
            b"\\\\",
            b"\\\n",
            b"=",
            b"#",
            b"\r",
            b"\xc3\xa9",
            b"$v",
            b"'",
            b"\\x",
            b"1>2",
            b"",
        )
        value = b"".join(random.choice(pieces) for _ in range(random.randint(0, 4)))
        end = (
            b"\n"
            if random.random() < 0.95
            else random.choice((b"\n\n", b"", b"\r\n", b"#\n", b"\n#comment\n"))
        )
        return name + (b"=" if random.random() < 0.97 else b"") + value + end

    def value(self) -> str:
        choices = (
            "",
            "a",
            "'b c'",
            "'\\'",
            '"x\\\\y"',
            "$v",
            "'1>2'",
            "é",
            "'#'",
            '"\n"',
            "x=y",
            "a" * 300,
            "a" * 900,
        )
        return self.random.choice(choices)

    def command(self) -> str:
        random = self.random
        names = ("saved_entry", "next_entry", "v", "w", "x", "new", "unset", "a.b")
        name = random.choice(names)
        choices = (
            "list_env; p $?",
            f"set {name}={self.value()}",
            f"set {name}={self.value()}",
            f"save_env {name}; p $?",
            f"save_env {name}; p $?",
            f"save_env {name} {random.choice(names)} ; p $?",
            f"unset {name}",
            f'load_env {name}; p $? "$v" "$w" "$new"',
            "load_env -f $prefix/grubenv; p $?",
            "save_env -f (hd0,1)/boot/grub/grubenv v; p $?",
            "load_env --skip-sig --file /boot/grub/grubenv v w; p $?",
        )
        return random.choice(choices)

    def case(self) -> bytes:
        """A script, and the block behind the usual line."""
        lines = ["load_env; p $?"] if self.random.random() < 0.8 else []
        lines += [self.command() for _ in range(self.random.randint(1, 6))]
        lines += [
            "list_env; p $?",
            "unset v",
            "unset w",
            "unset x",
            "load_env",
            'p "$v" "$w" "$x" "$next_entry"',
        ]
        return HELPER.encode() + "\n".join(lines).encode() + b"\n" + BLOCK_FOLLOWS + self.block()


HEADER = LOADED + one_time_entry("%s")
HEADER += """\
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
if [ "${prev_saved_entry}" ]; then
  set saved_entry="${prev_saved_entry}"
  save_env saved_entry
  set prev_saved_entry=
  save_env prev_saved_entry
  set boot_once=true
fi
"""
HEADER += SAVEDEFAULT
HEADER += """\
function load_video {
  insmod all_video
}
"""


@dataclass
class Menus:
    """Random menus; each body names its entry, so that it shows which one has run."""

    random: Random
    titles: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.scripts = Scripts(self.random, shallow=True)

    def configuration(self) -> bytes:
        random = self.random
        menu = self.menu(0)
        default = self.default()
        lines: list[str] = []
        if random.random() < 0.5:
            lines += (
                HEADER % random.choice(("${saved_entry}", default.replace('"', ""), "0"))
            ).split("\n")[:-1]
        elif random.random() < 0.9:
            lines.append(f"set default={self.quote(default)}")
        if random.random() < 0.15:
            lines.append(f"set fallback={self.quote(self.fallback())}")
        lines += random.sample(
            [
                "set timeout=5",
                "timeout_style=hidden",
                "plain=P",
                "shared=S\nexport shared",
                "function load { linux /boot/vmlinuz-a fn $1 $2 $shared; initrd /boot/initrd-a; }",
                "search --no-floppy --fs-uuid --set=root 11111111-2222-3333-4444-555555555555",
                "if [ $grub_platform = efi ]; then set plain=efi; fi",
                "insmod part_gpt",
                "nosuchcommand",
                "if true; then nosuch; fi",
                "set x='unterminated",
            ][: 11 if random.random() < 0.1 else 10],
            random.randint(1, 7),
        )
        lines += menu
        if random.random() < 0.25:
            lines.insert(0, HELPER.rstrip())
            for _ in range(random.randint(1, 3)):
                at = random.randint(1, len(lines))
                lines[at:at] = self.scripts.statement()
        text = "\n".join(lines) + "\n"
        block = self.block(default)
        return text.encode("utf-8", "surrogateescape") + (
            BLOCK_FOLLOWS + block.encode() if block else b""
        )

    def quote(self, text: str) -> str:
        return "'" + text.replace("'", "'\\''") + "'"

    def block(self, default: str) -> str:
        random = self.random
        if random.random() < 0.4:
            return ""
        lines = []
        for name in ("saved_entry", "next_entry", "prev_saved_entry", "unrelated"):
            if random.random() < 0.4:
                value = random.choice((default, self.default(), "", "0", "nosuch"))
                lines.append(f"{name}={value.replace(chr(92), chr(92) * 2)}")
        random.shuffle(lines)
        return "".join(line + "\n" for line in lines)

    # Names of entries

    def title(self) -> str:
        random = self.random
        if self.titles and random.random() < 0.15:
            return random.choice(self.titles)
        found = random.choice(
            (
                *(
                    "Linux",
                    "Debian GNU/Linux",
                    "Debian GNU/Linux, with Linux 6.1.0-9-amd64",
                    "a b",
                    "A > B",
                    "a>>b",
                    ">x",
                ),
                *(
                    "0",
                    "1",
                    "2",
                    "07",
                    "0x1",
                    "1 of 2",
                    "6.1 kernel",
                    "-1",
                    "it's",
                    'say "hi"',
                    "$HOME",
                    "é ☃",
                    "x\\y",
                    "#1",
                ),
            )
        )
        self.titles.append(found)
        return found

    def identity(self) -> str:
        random = self.random
        if self.ids and random.random() < 0.15:
            return random.choice(self.ids)
        found = random.choice(
            (
                "linux",
                "gnulinux-simple-1-2",
                "3",
                "0",
                "x>y",
                "old>",
                "with blank",
                "Linux",
                "a b",
                f"id{self.count}",
            )
        )
        self.ids.append(found)
        return found

    # Entries

    def menu(self, depth: int) -> list[str]:
        lines: list[str] = []
        for _ in range(self.random.randint(1 if depth else 2, 4 if depth else 6)):
            if depth < 3 and self.random.random() < (0.3 if depth < 2 else 0.1):
                lines += self.submenu(depth)
            else:
                lines += self.entry()
        return lines

    def head(self, command: str) -> str:
        random = self.random
        parts = [self.quote(self.title())]
        if random.random() < 0.5:
            option = random.choice(("--id ", "--id=", "$menuentry_id_option "))
            parts.append(option + self.quote(self.identity()))
        parts += random.sample(
            [
                "--class gnu-linux",
                "--class os",
                "--unrestricted",
                "--hotkey=q",
                "extra",
                "--users ''",
            ],
            random.randint(0, 2),
        )
        if random.random() < 0.2:
            parts.insert(0, parts.pop())
        return f"{command} {' '.join(parts)} {{"

    def submenu(self, depth: int) -> list[str]:
        random = self.random
        lines = [self.head("submenu")]
        if random.random() < 0.2:
            lines.append(
                random.choice(
                    (
                        "  plain=inner",
                        "  shared=changed",
                        "  set default=1",
                        "  nosuch",
                        "  export plain",
                        "  set fallback=0",
                    )
                )
            )
        if random.random() < 0.95:
            lines += ["  " + line for line in self.menu(depth + 1)]
        return [*lines, "}"]

    def entry(self) -> list[str]:
        random = self.random
        self.count += 1
        mark = f"e={self.count}"
        lines = [self.head("menuentry")]
        if random.random() < 0.3:
            lines.append(
                random.choice(
                    (
                        "  savedefault",
                        "  load_video",
                        "  set gfxpayload=keep",
                        "  echo 'Loading ...'",
                        "  insmod ext2",
                    )
                )
            )
        if random.random() < 0.15:
            lines.append(
                random.choice(
                    (
                        "  set root=hd0,gpt1",
                        "  set root=hd0,gpt9",
                        "  nosuch",
                        "  plain=body",
                        "  false",
                        "  return",
                        "  search -f /g/a1 --set=root",
                    )
                )
            )
        body = random.choices(range(6), (10, 3, 1, 1, 2, 2))[0]
        kernel = random.choice(
            (
                "/boot/vmlinuz-a",
                "/boot/vmlinuz-b",
                "(hd0,gpt1)/boot/vmlinuz-a",
                "($root)/vmlinuz-top",
                "'/boot/k with blank'",
            )
        )
        if random.random() < 0.15:
            kernel = random.choice(("/boot/missing", "boot/vmlinuz-a", "(hd7)/x", "/boot", "''"))
        loader = random.choice(("linux", "linux", "linux", "linux16", "linuxefi"))
        words = random.choice(
            (
                "$1 $2",
                '"$1"',
                "p=$plain s=$shared",
                "'a b' c",
                '"" $undefined "$undefined"',
                "c=$chosen d=$default",
                "n=$# $@",
                "ro quiet",
            )
        )
        if body <= 1:
            lines.append(f"  {loader} {kernel} {mark} {words}")
            if random.random() < 0.7:
                initrd = random.choice(
                    (
                        "/boot/initrd-a",
                        "/boot/initrd-a /boot/initrd-b",
                        "/boot/missing",
                        "newc:x:/boot/initrd-a",
                    )
                )
                lines.append(f"  {loader.replace('linux', 'initrd')} {initrd}")
            if body == 1:
                lines.append(
                    random.choice(
                        (
                            "  false",
                            "  nosuch",
                            "  true",
                            "  set root=hd0,gpt9",
                            "  save_env plain",
                            "  exit",
                            "  return",
                            "  boot",
                            "  [ a = b ]",
                            "  if false; then true; fi",
                        )
                    )
                )
        elif body == 2:
            lines.append(f"  initrd /boot/initrd-a {mark}")
            lines.append(f"  linux {kernel} {mark}")
        elif body == 3:
            lines.append(f"  echo nothing {mark}")
        elif body == 4:
            lines.append(
                f"  if [ x$plain = xP ]; then linux {kernel} {mark} yes; else linux {kernel} {mark} no; fi"
            )
        else:
            lines.append(f"  load {mark} $1")
        return [*lines, "}"]

    # Choices

    def default(self) -> str:
        """A path of numbers, titles and ids, or something that looks like one."""
        random = self.random
        parts = []
        for _ in range(random.choices((1, 2, 3), (6, 3, 1))[0]):
            pick = random.random()
            if pick < 0.35:
                parts.append(str(random.randint(0, 6)))
            elif pick < 0.6 and self.titles:
                parts.append(random.choice(self.titles).replace(">", ">>"))
            elif pick < 0.85 and self.ids:
                parts.append(random.choice(self.ids).replace(">", ">>"))
            elif pick < 0.9 and self.titles:
                parts.append(random.choice(self.titles))
            else:
                parts.append(
                    random.choice(
                        (
                            "",
                            "nosuch",
                            " 1",
                            "1 ",
                            "0x1",
                            "010",
                            "-1",
                            "99",
                            "1x",
                            "4294967297",
                            "18446744073709551616",
                        )
                    )
                )
        return ">".join(parts)

    def fallback(self) -> str:
        random = self.random
        return random.choice((" ", "  ", ",")).join(
            random.choice(("0", "1", "2", "3", "9", "x", "1>0", *self.ids[:1]))
            for _ in range(random.randint(1, 3))
        )
