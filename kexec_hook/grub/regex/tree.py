r"""How gnulib reads a POSIX extended regular expression (lib/gnulib/regcomp.c), in the shape its automaton needs.

    ere       = branch { "|" branch }
    branch    = { piece }
    piece     = anchor | atom { "*" | "+" | "?" | "{" interval "}" }
    interval  = number [ "," [ number ] ] | "," [ number ]
    anchor    = "^" | "$" | "\<" | "\>" | "\b" | "\B" | "\`" | "\'"
    atom      = "(" ere ")" | bracket | "." | "\w" | "\W" | "\s" | "\S" | "\" any | char
    bracket   = "[" [ "^" ] item { item } "]"     the first item may be "]", "-" is plain at either end, "\" everywhere
    item      = element [ "-" element ] | "[:" class ":]" | "[=" char "=]"
    element   = char | "[." char ".]"

A ")" without "(" and a "}" stand for themselves; an operator with nothing to repeat is an error.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from kexec_hook.grub.regex.chars import CLASSES, Chars, is_stray

MAX_NODES = 3000  # of the tree and of the automaton; gnulib's own bound is the memory
_DEEPEST = 60  # parentheses in one another
_WIDEST = 2 * 128
_DUP_MAX = 0x7FFF

_BADPAT = "Invalid regular expression"
_ECOLLATE = "Invalid collation character"
_ECTYPE = "Invalid character class name"
_EESCAPE = "Trailing backslash"
_ESUBREG = "Invalid back reference"
_EBRACK = "Unmatched [, [^, [:, [., or [="
_EPAREN = "Unmatched ( or \\("
_EBRACE = "Unmatched \\{"
_BADBR = "Invalid content of \\{\\}"
_ERANGE = "Invalid range end"
_BADRPT = "Invalid preceding regular expression"
_ESIZE = "Regular expression too big"


class EreError(Exception):
    """The pattern is wrong; the message is GRUB's."""


class EreLimit(EreError):
    """GRUB might well go on here, and we do not: what follows from this match is not known."""


# Anchors: what must hold before and behind a place, in gnulib's bits.

PREV_WORD, PREV_NOTWORD, NEXT_WORD, NEXT_NOTWORD, PREV_LINE, NEXT_LINE, PREV_BUF, NEXT_BUF = (
    1 << n for n in range(8)
)
PREV = PREV_WORD | PREV_NOTWORD | PREV_LINE | PREV_BUF
NEXT = NEXT_WORD | NEXT_NOTWORD | NEXT_LINE | NEXT_BUF
_ANCHORS = {
    "^": [PREV_LINE],
    "$": [NEXT_LINE],
    "\\`": [PREV_BUF],
    "\\'": [NEXT_BUF],
    "\\<": [PREV_NOTWORD | NEXT_WORD],
    "\\>": [PREV_WORD | NEXT_NOTWORD],
    "\\b": [PREV_NOTWORD | NEXT_WORD, PREV_WORD | NEXT_NOTWORD],
    "\\B": [PREV_WORD | NEXT_WORD, PREV_NOTWORD | NEXT_NOTWORD],
}
_SHORTHANDS = {
    "\\w": Chars(CLASSES["alnum"] + "__"),
    "\\W": Chars(CLASSES["alnum"] + "__", negated=True),
    "\\s": Chars(CLASSES["space"]),
    "\\S": Chars(CLASSES["space"], negated=True),
    ".": Chars("\0\0", negated=True),
}

CHARS, ANCHOR, OPEN, CLOSE, END, STAR, ALT, CAT, GROUP = range(9)


class Tree:
    """A node; CAT, ALT, STAR and GROUP have children."""

    chars: Chars | None = None
    bits = 0
    group = 0
    optional = False  # inside of a repetition that may match nothing
    copied = False  # made for the second and later rounds of a repetition
    split = False  # in gnulib two nodes, for ASCII and for the rest, and an ALT above them

    def __init__(self, kind: int, left: Tree | None = None, right: Tree | None = None) -> None:
        self.kind = kind
        self.left = left
        self.right = right
        self.index = -1
        self.first = self
        self.next: Tree | None = None


def bottom_up(root: Tree) -> list[Tree]:
    """Children before parents, left before right, however deep."""
    order, stack = [], [root]
    while stack:
        tree = stack.pop()
        order.append(tree)
        stack += [child for child in (tree.left, tree.right) if child is not None]
    return order[::-1]


class Parser:
    """Recursive descent over symbols: one character, or a backslash and one."""

    def __init__(self, pattern: str) -> None:
        self.groups = 0
        self._pattern = pattern
        self._at = 0
        self._symbol = ""
        self._nodes = 0
        self._complete: set[int] = set()  # groups that a back-reference may name here
        self._refers_back = False

    def whole(self) -> Tree:
        """The tree of the pattern, its end behind it.  EreError."""
        self._advance()
        tree = self._alternatives(0)
        if self._refers_back:
            # GRUBs differ in what these match, and may take exponential time for it.
            raise EreLimit("back-references are not followed")
        end = self._tree(END)
        return end if tree is None else self._tree(CAT, tree, end)

    def _advance(self) -> str:
        """The next symbol; "" at the end."""
        width = 2 if self._pattern.startswith("\\", self._at) else 1
        self._symbol = self._pattern[self._at : self._at + width]
        self._at += len(self._symbol)
        return self._symbol

    def _tree(self, kind: int, left: Tree | None = None, right: Tree | None = None) -> Tree:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise EreLimit(f"the regular expression needs more than {MAX_NODES} states")
        return Tree(kind, left, right)

    def _one_of(self, chars: Chars, *, split: bool = False) -> Tree:
        tree = self._tree(CHARS)
        tree.chars, tree.split = chars, split
        return tree

    def _alternatives(self, depth: int) -> Tree | None:
        if depth > _DEEPEST:
            raise EreLimit(f"parentheses are nested more than {_DEEPEST} deep")
        before = set(self._complete)
        tree = self._branch(depth)
        while self._symbol == "|":
            self._advance()
            after, self._complete = self._complete, set(before)
            right = None if self._branch_ends(depth) else self._branch(depth)
            self._complete |= after
            tree = self._tree(ALT, tree, right)
        return tree

    def _branch_ends(self, depth: int) -> bool:
        return self._symbol in ("", "|") or (depth > 0 and self._symbol == ")")

    def _branch(self, depth: int) -> Tree | None:
        tree = self._piece(depth)
        while not self._branch_ends(depth):
            piece = self._piece(depth)
            tree = self._tree(CAT, tree, piece) if tree and piece else tree or piece
        return tree

    def _piece(self, depth: int) -> Tree | None:
        symbol = self._symbol
        if symbol in ("", "|"):
            return None
        if symbol in _ANCHORS:
            self._advance()  # an operator behind it has nothing to repeat
            return self._anchor(_ANCHORS[symbol])
        piece: Tree | None = self._atom(symbol, depth)
        self._advance()
        while self._symbol in ("*", "+", "?", "{"):
            piece = self._repeated(piece)
        return piece

    def _anchor(self, choices: list[int]) -> Tree:
        trees = [self._tree(ANCHOR) for _ in choices]
        for tree, bits in zip(trees, choices):
            tree.bits = bits
        return trees[0] if len(trees) == 1 else self._tree(ALT, *trees)

    def _atom(self, symbol: str, depth: int) -> Tree:
        if symbol in ("*", "+", "?", "{"):
            raise EreError(_BADRPT)
        if symbol == "\\":
            raise EreError(_EESCAPE)
        if symbol == "(":
            return self._parenthesis(depth + 1)
        if symbol == "[":
            return self._bracket()
        if symbol in _SHORTHANDS:
            return self._one_of(_SHORTHANDS[symbol], split=symbol != ".")
        if symbol[0] == "\\" and symbol[1] in "123456789":
            if int(symbol[1]) not in self._complete:
                raise EreError(_ESUBREG)
            self._refers_back = True
        return self._one_of(Chars(symbol[-1] * 2, literal=True))

    def _parenthesis(self, depth: int) -> Tree:
        self.groups += 1
        number = self.groups
        inner = None
        if self._advance() != ")":
            inner = self._alternatives(depth)
            if self._symbol != ")":
                raise EreError(_EPAREN)
        self._complete.add(number)
        tree = self._tree(GROUP, inner)
        tree.group = number
        return tree

    # Repetition

    def _number(self) -> int | None:
        """Digits up to "," or "}"; -1 where there are none, None where they are not digits or nothing ends them."""
        number: int | None = -1
        while self._advance():
            char = self._symbol[-1]
            if self._symbol == "}" or char == ",":
                return number
            if (
                number is None
                or (len(self._symbol) > 1 and char != "0")
                or char not in "0123456789"
            ):
                number = None
            else:
                number = min(_DUP_MAX + 1, max(number, 0) * 10 + int(char))
        return None

    def _bounds(self) -> tuple[int, int]:
        """How often at least, and at most; -1 is without end."""
        if self._symbol != "{":
            return (1 if self._symbol == "+" else 0), (1 if self._symbol == "?" else -1)
        low = high = self._number()
        if low == -1:
            if self._symbol == "}":
                raise EreError(_BADBR)
            low = 0
        if low is not None and self._symbol != "}":
            high = self._number()
        if low is None or high is None:
            raise EreError(_BADBR if self._symbol else _EBRACE)
        if (high != -1 and low > high) or self._symbol != "}":
            raise EreError(_BADBR)
        if (low if high == -1 else high) > _DUP_MAX:
            raise EreError(_ESIZE)
        return low, high

    def _repeated(self, piece: Tree | None) -> Tree | None:
        """x{2,4} becomes x x (x (x)?)?, in gnulib's shape: ALT(CAT(ALT(x), x)) for the optional rounds."""
        low, high = self._bounds()
        self._advance()
        if piece is None or high == 0:
            return None
        fixed = None
        if low > 0:
            fixed = piece
            for _ in range(low - 1):
                piece = self._copy(piece)
                fixed = self._tree(CAT, fixed, piece)
            if low == high:
                return fixed
            # gnulib's walk over this copy leaves it at its top, and so marks the one before it, too.
            piece.optional = low > 1 and piece.kind == GROUP
            piece = self._copy(piece)
        if piece.kind == GROUP:
            piece.optional = True
        tree = self._tree(STAR if high == -1 else ALT, piece)
        for _ in range(high - low - 1):
            piece = self._copy(piece)
            tree = self._tree(ALT, self._tree(CAT, tree, piece))
        return tree if fixed is None else self._tree(CAT, fixed, tree)

    def _copy(self, root: Tree) -> Tree:
        copies: dict[Tree | None, Tree | None] = {None: None}
        new = root
        for tree in bottom_up(root):
            new = self._tree(tree.kind, copies[tree.left], copies[tree.right])
            copies[tree] = new
            new.chars, new.bits, new.group, new.split = (
                tree.chars,
                tree.bits,
                tree.group,
                tree.split,
            )
            new.copied = True  # and not optional: gnulib's copies forget that
        return new

    # Brackets; self._at stands behind "["

    def _bracket(self) -> Tree:
        negated = self._peek() == "^"
        self._at += negated
        if not self._peek():
            raise EreError(_BADPAT)
        ranges, wide = self._member(first=True)
        wide |= negated
        while self._not_at_end() != "]":
            more, is_wide = self._member(first=False)
            ranges += more
            wide |= is_wide
        self._at += 1
        if len(ranges) > _WIDEST:
            raise EreLimit("a bracket names more than 128 characters and ranges")
        chars = Chars(ranges, negated)
        return self._one_of(
            chars, split=wide and any(chars.accept(chr(code)) for code in range(128))
        )

    def _member(self, *, first: bool) -> tuple[str, bool]:
        """The ranges that a character, a range or a class adds, and whether they may hold what is not ASCII."""
        kind, name = self._element(hyphen=first)
        if kind not in (":", "=") and self._not_at_end() == "-" and self._peek(1) != "]":
            self._at += 1
            self._not_at_end()
            return _range(kind, name, *self._element(hyphen=True)), True
        if kind == ":":
            if name not in CLASSES:
                raise EreError(_ECTYPE)
            return CLASSES[name], True
        if kind and _octets(name) != 1:
            raise EreError(_ECOLLATE)
        if is_stray(name):
            return "", False
        return name * 2, not name.isascii()

    def _not_at_end(self) -> str:
        """The next character, which there must be.  EreError"""
        char = self._peek()
        if not char:
            raise EreError(_EBRACK)
        return char

    def _peek(self, ahead: int = 0) -> str:
        return self._pattern[self._at + ahead : self._at + ahead + 1]

    def _element(self, *, hyphen: bool) -> tuple[str, str]:
        """Kind (":", "=", "." or "" for a plain character) and name."""
        kind = self._peek(1)
        if self._peek() == "[" and kind in (".", "=", ":"):
            end = self._pattern.find(f"{kind}]", self._at + 2)
            name = self._pattern[self._at + 2 : end]
            if end < 0 or _octets(name) > 31:
                raise EreError(_EBRACK)
            self._at = end + 2
            return kind, name
        char = self._peek()
        self._at += 1
        if char == "-" and not hyphen and self._peek() != "]":
            raise EreError(_ERANGE)
        return "", char


def _range(low_kind: str, low: str, high_kind: str, high: str) -> str:
    if high_kind in (":", "="):
        raise EreError(_ERANGE)
    if (
        (low_kind and _octets(low) > 1)
        or (high_kind and _octets(high) > 1)
        or is_stray(low)
        or is_stray(high)
    ):
        raise EreError(_ECOLLATE)
    low, high = low or "\0", high or "\0"
    if low > high:
        raise EreError(_ERANGE)
    return low + high


def _octets(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))
