"""The regular expressions of GRUB's `regexp`: gnulib's POSIX ERE, matched in bounded time."""

from __future__ import annotations

from dataclasses import dataclass

# GRUB runs gnulib's regcomp with REG_EXTENDED and regexec without flags (commands/regexp.c), over UTF-8, with
# character classes that know ASCII only (lib/posix_wrap).  Where several ways lead to the leftmost longest match,
# the groups are those that gnulib's walk through its automaton happens to set, not the ones POSIX asks for: so the
# automaton here is numbered as gnulib numbers its own, and walked by the same rules.

DUP_MAX = 0x7FFF
MAX_NODES = 3000  # of the automaton; gnulib's own bound is the memory
MAX_DEPTH = 60  # of parentheses
MAX_STEPS = 3_000_000  # of compiling or matching: about two seconds

BADPAT = "Invalid regular expression"
ECOLLATE = "Invalid collation character"
ECTYPE = "Invalid character class name"
EESCAPE = "Trailing backslash"
ESUBREG = "Invalid back reference"
EBRACK = "Unmatched [, [^, [:, [., or [="
EPAREN = "Unmatched ( or \\("
EBRACE = "Unmatched \\{"
BADBR = "Invalid content of \\{\\}"
ERANGE = "Invalid range end"
BADRPT = "Invalid preceding regular expression"
ESIZE = "Regular expression too big"

Span = tuple[int, int]


class EreError(Exception):
    """The pattern is wrong; the message is GRUB's."""


class EreLimit(EreError):
    """GRUB might well go on here, and we do not: what follows from this match is not known."""


def compile(pattern: str) -> Regex:
    """
    ere       = branch { "|" branch }
    branch    = { piece }
    piece     = anchor | atom { "*" | "+" | "?" | "{" interval "}" }
    interval  = number [ "," [ number ] ] | "," [ number ]
    anchor    = "^" | "$" | "\\<" | "\\>" | "\\b" | "\\B" | "\\`" | "\\'"
    atom      = "(" ere ")" | bracket | "." | "\\w" | "\\W" | "\\s" | "\\S" | "\\" any | char
    bracket   = "[" [ "^" ] item { item } "]"; the first item may be "]", "-" is plain at either end, "\\" everywhere
    item      = element [ "-" element ] | "[:" class ":]" | "[=" char "=]"
    element   = char | "[." char ".]"

    A ")" without "(" and a "}" stand for themselves; an operator with nothing to repeat is an error.
    """
    parser = _Parser(pattern)
    root = parser.whole()
    if parser.refers_back:
        # gnulib's answers changed between the versions of GRUB (2.06 to 2.12), and take exponential time.
        raise EreLimit("back-references are not supported")
    return Regex(pattern, root, parser.groups)


# --- characters

_DIGIT = [("0", "9")]
_UPPER = [("A", "Z")]
_LOWER = [("a", "z")]
_ALNUM = _DIGIT + _UPPER + _LOWER
_SPACE = [(c, c) for c in " \t\n\r"]  # grub_isspace knows no \v and no \f
_CLASSES = {
    "alnum": _ALNUM,
    "alpha": _UPPER + _LOWER,
    "blank": [(" ", " "), ("\t", "\t")],
    "cntrl": [("\0", "\x1f"), ("\x7f", "\x7f")],
    "digit": _DIGIT,
    "graph": [("!", "~")],
    "lower": _LOWER,
    "print": [(" ", "~")],
    "punct": [("!", "/"), (":", "@"), ("[", "`"), ("{", "~")],
    "space": _SPACE,
    "upper": _UPPER,
    "xdigit": [*_DIGIT, ("A", "F"), ("a", "f")],
}


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


def _is_stray(char: str) -> bool:
    """A byte that is no UTF-8: it matches itself in a pattern, never `.` nor a bracket."""
    return "\udc80" <= char <= "\udcff"


@dataclass(frozen=True)
class _Chars:
    """What one bracket, `.`, `\\w` or plain character accepts."""

    ranges: tuple[Span, ...]
    negated: bool = False
    literal: bool = False

    def __contains__(self, char: str) -> bool:
        if _is_stray(char) and not self.literal:
            return False
        code = ord(char)
        return any(low <= code <= high for low, high in self.ranges) != self.negated


def _chars(ranges: list[tuple[str, str]], negated: bool = False) -> _Chars:
    return _Chars(tuple((ord(low), ord(high)) for low, high in ranges), negated)


# --- anchors: what must hold before and behind a place, in gnulib's bits

_PREV_WORD, _PREV_NOTWORD, _NEXT_WORD, _NEXT_NOTWORD, _PREV_LINE, _NEXT_LINE, _PREV_BUF, _NEXT_BUF = (
    1 << bit for bit in range(8)
)
_PREV = _PREV_WORD | _PREV_NOTWORD | _PREV_LINE | _PREV_BUF
_NEXT = _NEXT_WORD | _NEXT_NOTWORD | _NEXT_LINE | _NEXT_BUF
_ANCHORS = {
    "^": [_PREV_LINE],
    "$": [_NEXT_LINE],
    "\\`": [_PREV_BUF],
    "\\'": [_NEXT_BUF],
    "\\<": [_PREV_NOTWORD | _NEXT_WORD],
    "\\>": [_PREV_WORD | _NEXT_NOTWORD],
    "\\b": [_PREV_NOTWORD | _NEXT_WORD, _PREV_WORD | _NEXT_NOTWORD],
    "\\B": [_PREV_WORD | _NEXT_WORD, _PREV_NOTWORD | _NEXT_NOTWORD],
}
_SHORTHANDS = {
    "\\w": _chars([*_ALNUM, ("_", "_")]),
    "\\W": _chars([*_ALNUM, ("_", "_")], negated=True),
    "\\s": _chars(_SPACE),
    "\\S": _chars(_SPACE, negated=True),
    ".": _chars([("\0", "\0")], negated=True),
}


# --- the tree

_CHARS, _ANCHOR, _OPEN, _CLOSE, _END, _STAR, _ALT, _CAT, _GROUP = range(9)


class _Tree:
    """A node; _CAT, _ALT, _STAR and _GROUP have children."""

    __slots__ = (
        "bits",
        "chars",
        "copied",
        "first",
        "group",
        "index",
        "kind",
        "left",
        "next",
        "optional",
        "right",
        "split",
    )

    def __init__(self, kind: int, left: _Tree | None = None, right: _Tree | None = None) -> None:
        self.kind = kind
        self.left = left
        self.right = right
        self.chars: _Chars | None = None
        self.bits = 0
        self.group = 0
        self.optional = False  # inside of a repetition that may match nothing
        self.copied = False  # made for the second and later rounds of a repetition
        self.split = False  # in gnulib two nodes, for ASCII and for the rest, and an _ALT above them
        self.index = -1
        self.first = self
        self.next: _Tree | None = None


def _bottom_up(root: _Tree) -> list[_Tree]:
    """Children before parents, left before right, however deep."""
    order, stack = [], [root]
    while stack:
        tree = stack.pop()
        order.append(tree)
        stack += [child for child in (tree.left, tree.right) if child is not None]
    return order[::-1]


class _Parser:
    """Recursive descent over tokens: one character, or a backslash and one."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.symbol = ""
        self.groups = 0
        self.nodes = 0
        self.complete: set[int] = set()
        self.refers_back = False

    def whole(self) -> _Tree:
        self.advance()
        tree = self.alternatives(0)
        end = self.tree(_END)
        return end if tree is None else self.tree(_CAT, tree, end)

    def advance(self) -> str:
        """The next symbol; "" at the end."""
        width = 2 if self.pattern.startswith("\\", self.at) else 1
        self.symbol = self.pattern[self.at : self.at + width]
        self.at += len(self.symbol)
        return self.symbol

    def tree(self, kind: int, left: _Tree | None = None, right: _Tree | None = None) -> _Tree:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise EreLimit(f"the regular expression needs more than {MAX_NODES} states")
        return _Tree(kind, left, right)

    def one_of(self, chars: _Chars) -> _Tree:
        tree = self.tree(_CHARS)
        tree.chars = chars
        return tree

    def alternatives(self, depth: int) -> _Tree | None:
        if depth > MAX_DEPTH:
            raise EreLimit(f"parentheses are nested more than {MAX_DEPTH} deep")
        before = set(self.complete)
        tree = self.branch(depth)
        while self.symbol == "|":
            self.advance()
            after, self.complete = self.complete, set(before)
            right = None if self.branch_ends(depth) else self.branch(depth)
            self.complete |= after
            tree = self.tree(_ALT, tree, right)
        return tree

    def branch_ends(self, depth: int) -> bool:
        return self.symbol in ("", "|") or (depth > 0 and self.symbol == ")")

    def branch(self, depth: int) -> _Tree | None:
        tree = self.piece(depth)
        while not self.branch_ends(depth):
            piece = self.piece(depth)
            if tree is None or piece is None:
                tree = tree or piece
            else:
                tree = self.tree(_CAT, tree, piece)
        return tree

    def piece(self, depth: int) -> _Tree | None:
        symbol = self.symbol
        if symbol in ("", "|"):
            return None
        if symbol in _ANCHORS:
            tree = self.anchor(_ANCHORS[symbol])
            self.advance()
            return tree  # an operator behind it has nothing to repeat
        if symbol in ("*", "+", "?", "{"):
            raise EreError(BADRPT)
        if symbol == "\\":
            raise EreError(EESCAPE)
        piece: _Tree | None
        if symbol == "(":
            piece = self.parenthesis(depth + 1)
        elif symbol == "[":
            chars, split = self.bracket()
            piece = self.one_of(chars)
            piece.split = split
        elif symbol in _SHORTHANDS:
            piece = self.one_of(_SHORTHANDS[symbol])
            piece.split = symbol != "."
        elif symbol[0] == "\\" and symbol[1] in "123456789":
            if int(symbol[1]) not in self.complete:
                raise EreError(ESUBREG)
            self.refers_back = True
            piece = self.one_of(_SHORTHANDS["."])
        else:
            code = ord(symbol[-1])
            piece = self.one_of(_Chars(((code, code),), literal=True))
        self.advance()
        while self.symbol in ("*", "+", "?", "{"):
            piece = self.repeated(piece)
        return piece

    def anchor(self, choices: list[int]) -> _Tree:
        trees = []
        for bits in choices:
            trees.append(self.tree(_ANCHOR))
            trees[-1].bits = bits
        if len(trees) == 1:
            return trees[0]
        return self.tree(_ALT, *trees)

    def parenthesis(self, depth: int) -> _Tree:
        self.groups += 1
        number = self.groups
        inner = None
        if self.advance() != ")":
            inner = self.alternatives(depth)
            if self.symbol != ")":
                raise EreError(EPAREN)
        self.complete.add(number)
        tree = self.tree(_GROUP, inner)
        tree.group = number
        return tree

    # repetition

    def number(self) -> int | None:
        """Digits up to "," or "}"; -1 where there are none, None where they are not digits or nothing ends them."""
        number: int | None = -1
        while self.advance():
            char = self.symbol[-1]
            if self.symbol == "}" or char == ",":
                return number
            if number is None or (len(self.symbol) > 1 and char != "0") or char not in "0123456789":
                number = None
            else:
                number = min(DUP_MAX + 1, max(number, 0) * 10 + int(char))
        return None

    def bounds(self) -> tuple[int, int]:
        """How often at least, and at most; -1 is without end."""
        if self.symbol != "{":
            return (1 if self.symbol == "+" else 0), (1 if self.symbol == "?" else -1)
        low = self.number()
        high = low
        if low == -1:
            if self.symbol == "}":
                raise EreError(BADBR)
            low = 0
        if low is not None and self.symbol != "}":
            high = self.number()
        if low is None or high is None:
            raise EreError(BADBR if self.symbol else EBRACE)
        if (high != -1 and low > high) or self.symbol != "}":
            raise EreError(BADBR)
        if (low if high == -1 else high) > DUP_MAX:
            raise EreError(ESIZE)
        return low, high

    def repeated(self, piece: _Tree | None) -> _Tree | None:
        """x{2,4} becomes x x (x (x)?)?, in gnulib's shape: ALT(CAT(ALT(x), x)) for the optional rounds."""
        low, high = self.bounds()
        self.advance()
        if piece is None or high == 0:
            return None
        fixed = None
        if low > 0:
            fixed = piece
            for _ in range(low - 1):
                piece = self.copy(piece)
                fixed = self.tree(_CAT, fixed, piece)
            if low == high:
                return fixed
            piece = self.copy(piece)
        if piece.kind == _GROUP:
            piece.optional = True
        tree = self.tree(_STAR if high == -1 else _ALT, piece)
        for _ in range(high - low - 1):
            piece = self.copy(piece)
            tree = self.tree(_ALT, self.tree(_CAT, tree, piece))
        return tree if fixed is None else self.tree(_CAT, fixed, tree)

    def copy(self, root: _Tree) -> _Tree:
        copies: dict[int, _Tree] = {}
        for tree in _bottom_up(root):
            left, right = (None if child is None else copies[id(child)] for child in (tree.left, tree.right))
            new = copies[id(tree)] = self.tree(tree.kind, left, right)
            new.chars, new.bits, new.group, new.split = tree.chars, tree.bits, tree.group, tree.split
            new.copied = True  # and not optional: gnulib's copies forget that
        return copies[id(root)]

    # brackets; self.at stands behind "["

    def bracket(self) -> tuple[_Chars, bool]:
        negated = self.peek() == "^"
        if negated:
            self.at += 1
        if not self.peek():
            raise EreError(BADPAT)
        ranges: list[tuple[str, str]] = []
        first, wide = True, negated
        while first or self.peek() != "]":
            kind, name = self.element(hyphen=first)
            first = False
            if kind not in (":", "=") and not self.peek():
                raise EreError(EBRACK)
            if kind not in (":", "=") and self.peek() == "-" and self.peek(1) != "]":
                self.at += 1
                if not self.peek():
                    raise EreError(EBRACK)
                ranges.append(self.range(kind, name, *self.element(hyphen=True)))
                wide = True
            elif kind == ":":
                if name not in _CLASSES:
                    raise EreError(ECTYPE)
                ranges += _CLASSES[name]
                wide = True
            elif kind and _octets(name) != 1:
                raise EreError(ECOLLATE)
            elif not _is_stray(name):
                ranges.append((name, name))
                wide |= not name.isascii()
            if not self.peek():
                raise EreError(EBRACK)
        self.at += 1
        chars = _chars(ranges, negated)
        return chars, wide and any(chr(code) in chars for code in range(128))

    def peek(self, ahead: int = 0) -> str:
        return self.pattern[self.at + ahead : self.at + ahead + 1]

    def element(self, hyphen: bool) -> tuple[str, str]:
        """Kind (":", "=", "." or "" for a plain character) and name."""
        kind = self.peek(1)
        if self.peek() == "[" and kind in (".", "=", ":"):
            end = self.pattern.find(f"{kind}]", self.at + 2)
            name = self.pattern[self.at + 2 : end]
            if end < 0 or _octets(name) > 31:
                raise EreError(EBRACK)
            self.at = end + 2
            return kind, name
        char = self.peek()
        self.at += 1
        if char == "-" and not hyphen and self.peek() != "]":
            raise EreError(ERANGE)
        return "", char

    def range(self, low_kind: str, low: str, high_kind: str, high: str) -> tuple[str, str]:
        if high_kind in (":", "="):
            raise EreError(ERANGE)
        if (low_kind and _octets(low) > 1) or (high_kind and _octets(high) > 1) or _is_stray(low) or _is_stray(high):
            raise EreError(ECOLLATE)
        low, high = low or "\0", high or "\0"
        if low > high:
            raise EreError(ERANGE)
        return low, high


def _octets(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


# --- the automaton


class _Nodes:
    """gnulib's automaton: its numbers decide which way is tried first, so nodes are made in its order."""

    def __init__(self, root: _Tree, groups: int) -> None:
        self.kind: list[int] = []
        self.chars: list[_Chars | None] = []
        self.group: list[int] = []
        self.optional: list[bool] = []
        self.copied: list[bool] = []
        self.bits: list[int] = []  # what must hold where the node is entered
        self.origin: list[int] = []
        self.edges: list[list[int]] = []  # ways on that consume nothing, lowest number first
        self.next: list[int] = []  # behind the character
        self.same = list(range(groups + 1))  # ((x)): the inner group is not in the automaton
        self._unwrap(root)
        self._number(root)
        self.plural = any(tree.split or tree.kind in (_ALT, _STAR) for tree in _bottom_up(root))  # has_plural_match
        self.first = root.first.index
        self._carry_anchors()

    def _unwrap(self, root: _Tree) -> None:
        gone = set()
        for tree in reversed(_bottom_up(root)):
            inner = tree.left
            if tree.kind == _GROUP and inner is not None and inner.kind == _GROUP and id(tree) not in gone:
                gone.add(id(inner))
                tree.left = inner.left
                self.same[inner.group] = self.same[tree.group]
        for tree in _bottom_up(root):
            if tree.kind == _GROUP:
                opened, closed = _Tree(_OPEN), _Tree(_CLOSE)
                for mark in (opened, closed):
                    mark.group, mark.optional = tree.group, tree.optional
                tree.kind = _CAT
                inner = tree.left
                tree.left, tree.right = opened, closed if inner is None else _Tree(_CAT, inner, closed)

    def _number(self, root: _Tree) -> None:
        order = _bottom_up(root)
        for tree in order:
            if tree.kind == _CAT:
                assert tree.left is not None
                tree.first = tree.left.first
            else:
                tree.index = self._add(tree.kind, tree.chars, tree.group, tree.optional, tree.copied, tree.bits)
        for tree in reversed(order):
            if tree.kind == _CAT:
                assert tree.left is not None
                assert tree.right is not None
                tree.left.next, tree.right.next = tree.right.first, tree.next
                continue
            for child in (tree.left, tree.right):
                if child is not None:
                    child.next = tree if tree.kind == _STAR else tree.next
        for tree in order:
            behind = -1 if tree.next is None else tree.next.index
            if tree.kind in (_STAR, _ALT):
                ways = (behind if child is None else child.first.index for child in (tree.left, tree.right))
                self.edges[tree.index] = sorted(set(ways))
            elif tree.kind in (_ANCHOR, _OPEN, _CLOSE):
                self.edges[tree.index] = [behind]
            elif tree.kind == _CHARS:
                self.next[tree.index] = behind

    def _add(self, kind: int, chars: _Chars | None, group: int, optional: bool, copied: bool, bits: int) -> int:
        if len(self.kind) >= 2 * MAX_NODES:
            raise EreLimit(f"the regular expression needs more than {MAX_NODES} states")
        self.kind.append(kind)
        self.chars.append(chars)
        self.group.append(group)
        self.optional.append(optional)
        self.copied.append(copied)
        self.bits.append(bits)
        self.origin.append(-1)
        self.edges.append([])
        self.next.append(-1)
        return len(self.kind) - 1

    # An anchor's condition must hold for whatever is entered through it, so all that is copied behind the anchor
    # and the copies carry the condition.  As gnulib does it, what was already copied by a repetition is left alone:
    # in (^a)+ the second ^ forbids nothing.

    def _carry_anchors(self) -> None:
        seen: set[int] = set()
        start = 0
        while start < len(self.kind):
            stack = [start]
            while stack:
                node = stack.pop()
                if node in seen:
                    continue
                seen.add(node)
                if self.bits[node] and self.edges[node] and not self.copied[self.edges[node][0]]:
                    self._copy_behind(node)
                stack += reversed(self.edges[node])
            start += 1

    def _copy_behind(self, anchor: int) -> None:
        # (node, its copy, condition, second way still to be copied)
        stack: list[tuple[int, int, int, bool]] = [(anchor, anchor, self.bits[anchor], False)]
        while stack:
            node, copy, bits, second = stack.pop()
            ways = self.edges[node]
            if second:
                way = ways[1]
                behind = self._copy_node(way, bits)
                self.edges[copy] = sorted({*self.edges[copy], behind})
                stack.append((way, behind, bits, False))
            elif not ways:
                self.next[copy] = self.next[node]
            elif len(ways) == 1:
                way = ways[0]
                if node == anchor and copy != node:
                    self.edges[copy] = [way]
                    continue
                bits |= self.bits[node]
                behind = self._copy_node(way, bits)
                self.edges[copy] = [behind]
                stack.append((way, behind, bits, False))
            else:
                way = ways[0]
                stack.append((node, copy, bits, True))
                known = self._known_copy(way, bits)
                behind = self._copy_node(way, bits) if known is None else known
                self.edges[copy] = [behind]
                if known is None:
                    stack.append((way, behind, bits, False))

    def _copy_node(self, node: int, bits: int) -> int:
        bits |= self.bits[node]
        copy = self._add(self.kind[node], self.chars[node], self.group[node], self.optional[node], True, bits)
        self.origin[copy] = node
        return copy

    def _known_copy(self, node: int, bits: int) -> int | None:
        for copy in range(len(self.kind) - 1, 0, -1):
            if not self.copied[copy]:
                break
            if self.origin[copy] == node and self.bits[copy] == bits:
                return copy
        return None


# --- matching


@dataclass(frozen=True)
class _State:
    """The nodes that are alive at one place of the text, whatever follows there."""

    nodes: frozenset[int]
    readers: tuple[int, ...]  # those that consume a character
    ends: tuple[int, ...]  # those that end the match, lowest first

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class Regex:
    """A compiled pattern; not to be shared between threads."""

    def __init__(self, pattern: str, root: _Tree, groups: int) -> None:
        self.pattern = pattern
        self.groups = groups
        self._nodes = _Nodes(root, groups)
        self._steps = 0
        self._closures: dict[int, frozenset[int]] = {}
        self._states: dict[tuple[frozenset[int], int], _State] = {}
        self._moves: dict[tuple[_State, str], _State] = {}
        self._into: list[list[int]] | None = None

    def search(self, text: str) -> tuple[Span | None, ...] | None:
        """Where the leftmost longest match and its groups begin and end; None for a group that took no part."""
        self._steps = 0
        for start in range(len(text) + 1):
            states = self._states_from(text, start)
            ends = ((start + n, self._last(text, start + n, states[n])) for n in range(len(states) - 1, -1, -1))
            end, last = next((found for found in ends if found[1] >= 0), (-1, -1))
            if end < 0:
                continue
            if self.groups == 0:
                return ((start, end),)
            alive = [state.nodes for state in states[: end - start + 1]]
            if self._nodes.plural:
                alive = self._sift(text, start, end, last, states)
                if self._nodes.first not in alive[0]:
                    continue  # gnulib: REG_NOMATCH from prune_impossible_nodes, the next start is tried
            return self._walk(text, start, end, last, alive)
        return None

    def _step(self, count: int = 1) -> None:
        self._steps += count
        if self._steps > MAX_STEPS:
            raise EreLimit("the regular expression takes too long")

    # forward: all ways at once

    def _states_from(self, text: str, start: int) -> list[_State]:
        """The states at `start` and behind, until no node is alive."""
        before = _PREV_LINE | _PREV_BUF | _PREV_NOTWORD
        if start > 0:
            before = _PREV_WORD if _is_word(text[start - 1]) else _PREV_NOTWORD
        state = self._state(self._closure(self._nodes.first), before)
        states = []
        for at in range(start, len(text) + 1):
            self._step()
            if not state.nodes:
                break
            states.append(state)
            if at == len(text):
                break
            move = (state, text[at])
            following = self._moves.get(move)
            if following is None:
                following = self._moves[move] = self._read(*move)
            state = following
        return states

    def _read(self, state: _State, char: str) -> _State:
        behind: set[int] = set()
        for node in state.readers:
            chars = self._nodes.chars[node]
            # A newline satisfies `$` here, and `^` behind it: gnulib forgets that REG_NEWLINE is not set.
            if chars is not None and char in chars and self._holds(node, _next(char) | _NEXT_LINE * (char == "\n")):
                behind |= self._closure(self._nodes.next[node])
        self._step(len(state.readers) + len(behind))
        word = _PREV_WORD if _is_word(char) else _PREV_NOTWORD
        return self._state(frozenset(behind), word | _PREV_LINE * (char == "\n"))

    def _state(self, entered: frozenset[int], before: int) -> _State:
        """Of the nodes entered, those whose condition holds for what stands before."""
        state = self._states.get((entered, before))
        if state is None:
            kind, bits = self._nodes.kind, self._nodes.bits
            nodes = sorted(node for node in entered if not bits[node] & _PREV & ~before)
            self._step(len(entered))
            state = self._states[entered, before] = _State(
                frozenset(nodes),
                tuple(node for node in nodes if kind[node] == _CHARS),
                tuple(node for node in nodes if kind[node] == _END),
            )
        return state

    def _closure(self, node: int) -> frozenset[int]:
        """The node, and all that can be reached from it without reading; conditions are not looked at."""
        closure = self._closures.get(node)
        if closure is None:
            reached, stack = {node}, [node]
            while stack:
                for way in self._nodes.edges[stack.pop()]:
                    if way not in reached:
                        reached.add(way)
                        stack.append(way)
            self._step(len(reached))
            closure = self._closures[node] = frozenset(reached)
        return closure

    def _holds(self, node: int, behind: int) -> bool:
        return not self._nodes.bits[node] & _NEXT & ~behind

    def _last(self, text: str, at: int, state: _State) -> int:
        behind = _behind(text, at)
        return next((node for node in state.ends if self._holds(node, behind)), -1)

    def _reads(self, node: int, text: str, at: int) -> bool:
        chars = self._nodes.chars[node]
        return chars is not None and text[at] in chars and self._holds(node, _behind(text, at))

    # backward: what leads to the end that was found

    def _sift(self, text: str, start: int, end: int, last: int, states: list[_State]) -> list[frozenset[int]]:
        sifted: list[frozenset[int]] = []
        goal = {last}
        for at in range(end, start - 1, -1):
            state = states[at - start]
            if at < end:
                goal = {
                    node
                    for node in state.readers
                    if self._nodes.next[node] in sifted[-1] and self._reads(node, text, at)
                }
            sifted.append(frozenset(goal | (self._leading_to(goal) & state.nodes)))
        return sifted[::-1]

    def _leading_to(self, goal: set[int]) -> set[int]:
        if self._into is None:
            self._into = [[] for _ in self._nodes.kind]
            for node, ways in enumerate(self._nodes.edges):
                for way in ways:
                    self._into[way].append(node)
        reached, stack = set(goal), list(goal)
        while stack:
            for node in self._into[stack.pop()]:
                if node not in reached:
                    reached.add(node)
                    stack.append(node)
        self._step(len(reached))
        return reached

    # forward again: one way, which sets the groups

    def _walk(
        self, text: str, start: int, end: int, last: int, alive: list[frozenset[int]]
    ) -> tuple[Span | None, ...] | None:
        nodes = self._nodes
        spans: list[tuple[int, int]] = [(start, end)] + [(-1, -1)] * self.groups
        accepted = list(spans)
        node, at = nodes.first, start
        passed: set[int] = set()
        still = 0
        while True:
            self._step()
            kind, group = nodes.kind[node], nodes.group[node]
            if kind == _OPEN:
                spans[group] = (at, -1)
            elif kind == _CLOSE and spans[group][0] < at:
                spans[group] = (spans[group][0], at)
                accepted = list(spans)
            elif kind == _CLOSE and nodes.optional[node] and accepted[group][0] >= 0:
                spans = list(accepted)  # a later round that matched nothing is undone, with its inner groups
            elif kind == _CLOSE:
                spans[group] = (spans[group][0], at)
            if at == end and node == last:
                return tuple(None if spans[same][0] < 0 else spans[same] for same in nodes.same)
            if kind == _CHARS:
                if at == end or not self._reads(node, text, at):
                    return None
                node = nodes.next[node]
                at += 1
                passed.clear()
                continue
            still = 0 if node not in passed else still + 1
            if still > len(nodes.kind):
                raise EreLimit("GRUB would not come back from matching this regular expression")
            passed.add(node)
            ways = [way for way in nodes.edges[node] if way in alive[at - start]]
            if not ways:
                return None
            node = ways[1] if len(ways) > 1 and ways[0] in passed else ways[0]


def _next(char: str) -> int:
    return _NEXT_WORD if _is_word(char) else _NEXT_NOTWORD


def _behind(text: str, at: int) -> int:
    """Which conditions on what follows hold at this place."""
    return _next(text[at]) if at < len(text) else _NEXT_NOTWORD | _NEXT_LINE | _NEXT_BUF
