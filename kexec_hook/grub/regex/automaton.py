"""The regular expressions of GRUB's `regexp`: gnulib's, matched in bounded time.

GRUB runs gnulib's regcomp with REG_EXTENDED and regexec without flags (commands/regexp.c), over UTF-8.  The match is
the longest of the leftmost.  Where several ways lead to it, the groups are those that gnulib's walk through its
automaton happens to set, not the ones POSIX asks for: so the automaton here is numbered as gnulib numbers its own, and
walked by the same rules.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Optional

from kexec_hook.grub.regex import tree
from kexec_hook.grub.regex.chars import Chars, is_word
from kexec_hook.grub.regex.tree import (
    ALT,
    ANCHOR,
    CAT,
    CHARS,
    CLOSE,
    END,
    GROUP,
    OPEN,
    STAR,
    Tree,
    bottom_up,
)
from kexec_hook.grub.regex.tree import EreError as EreError
from kexec_hook.grub.regex.tree import EreLimit as EreLimit

MAX_STEPS = 1_000_000  # of matching: about a second

Span = tuple[int, int]
Match = tuple[
    Optional[Span], ...
]  # where the match and its groups begin and end; None: the group took no part


def compile(pattern: str) -> Regex:
    """EreError, with GRUB's message; EreLimit."""
    parser = tree.Parser(pattern)
    return Regex(parser.whole(), parser.groups)


class _Node:
    """One node of the automaton; the others are named by their numbers."""

    def __init__(self, kind: int, like: Tree | _Node, *, copied: bool, bits: int) -> None:
        self.kind = kind
        self.chars: Chars | None = like.chars
        self.group: int = like.group
        self.optional: bool = like.optional
        self.copied = copied
        self.bits = bits  # what must hold where the node is entered
        self.edges: list[int] = []  # ways on that consume nothing, lowest number first
        self.next = -1  # behind the character


def _automaton(root: Tree, groups: int) -> tuple[list[_Node], int, list[int]]:
    """gnulib's automaton, its first node, and for each group the one that stands for it."""
    same = _unwrap(root, groups)
    nodes: list[_Node] = []
    order = bottom_up(root)
    for node in order:
        if node.kind == CAT:
            assert node.left is not None
            node.first = node.left.first
        else:
            node.index = len(nodes)
            _add(nodes, _Node(node.kind, node, copied=node.copied, bits=node.bits))
    for node in reversed(order):
        if node.kind == CAT:
            assert node.left is not None
            assert node.right is not None
            node.left.next, node.right.next = node.right.first, node.next
            continue
        for child in filter(None, (node.left, node.right)):
            child.next = node if node.kind == STAR else node.next
        made = nodes[node.index]
        behind = -1 if node.next is None else node.next.index
        if node.kind in (STAR, ALT):
            made.edges = sorted(
                {child.first.index if child else behind for child in (node.left, node.right)}
            )
        elif node.kind in (ANCHOR, OPEN, CLOSE):
            made.edges = [behind]
        elif node.kind == CHARS:
            made.next = behind
    _carry_anchors(nodes)
    return nodes, root.first.index, same


def _unwrap(root: Tree, groups: int) -> list[int]:
    """Groups become an OPEN and a CLOSE; of ((x)) the inner one is left out."""
    same = list(range(groups + 1))
    gone = set()
    for node in reversed(bottom_up(root)):
        inner = node.left
        if node.kind == GROUP and inner is not None and inner.kind == GROUP and node not in gone:
            gone.add(inner)
            node.left = inner.left
            same[inner.group] = same[node.group]
    for node in bottom_up(root):
        if node.kind == GROUP:
            opened, closed = Tree(OPEN), Tree(CLOSE)
            for mark in (opened, closed):
                mark.group, mark.optional = node.group, node.optional
            inner = node.left
            node.kind = CAT
            node.left, node.right = opened, closed if inner is None else Tree(CAT, inner, closed)
    return same


def _add(nodes: list[_Node], node: _Node) -> None:
    if len(nodes) >= 2 * tree.MAX_NODES:
        raise EreLimit(f"the regular expression needs more than {tree.MAX_NODES} states")
    nodes.append(node)


# An anchor's condition must hold for whatever is entered through it, so all that is entered so is copied behind the
# anchor, and the copies carry the condition.  As gnulib does it, what was already copied by a repetition is left alone:
# in (^a)+ the second ^ forbids nothing.


def _carry_anchors(nodes: list[_Node]) -> None:
    seen: set[int] = set()
    copies: dict[tuple[int, int], int] = {}  # by what is copied, and the condition
    start = 0
    while start < len(nodes):
        stack = [start]
        while stack:
            number = stack.pop()
            if number in seen:
                continue
            seen.add(number)
            node = nodes[number]
            if node.bits and node.edges and not nodes[node.edges[0]].copied:
                _copy_behind(nodes, number, copies)
            stack += reversed(node.edges)
        start += 1


def _copy_behind(nodes: list[_Node], anchor: int, copies: dict[tuple[int, int], int]) -> None:
    def copied(number: int, bits: int) -> int:
        node = nodes[number]
        bits |= node.bits
        _add(nodes, _Node(node.kind, node, copied=True, bits=bits))
        copies[number, bits] = len(nodes) - 1
        return len(nodes) - 1

    # (node, its copy, condition, second way still to be copied)
    stack: list[tuple[int, int, int, bool]] = [(anchor, anchor, nodes[anchor].bits, False)]
    while stack:
        number, copy, bits, second = stack.pop()
        node, ways = nodes[number], nodes[number].edges
        if second:
            behind = copied(ways[1], bits)
            nodes[copy].edges = sorted({*nodes[copy].edges, behind})
            stack.append((ways[1], behind, bits, False))
        elif not ways:
            nodes[copy].next = node.next
        elif len(ways) == 1 and number == anchor and copy != number:
            nodes[copy].edges = list(ways)
        elif len(ways) == 1:
            bits |= node.bits
            behind = copied(ways[0], bits)
            nodes[copy].edges = [behind]
            stack.append((ways[0], behind, bits, False))
        else:
            stack.append((number, copy, bits, True))
            known = copies.get((ways[0], bits))
            behind = copied(ways[0], bits) if known is None else known
            nodes[copy].edges = [behind]
            if known is None:
                stack.append((ways[0], behind, bits, False))


class _State:
    """The nodes that are alive at one place of the text, whatever follows there."""

    def __init__(self, alive: list[int], nodes: list[_Node]) -> None:
        self.nodes = frozenset(alive)
        self.readers = [number for number in alive if nodes[number].kind == CHARS]
        self.ends = [number for number in alive if nodes[number].kind == END]


class Regex:
    """A compiled pattern; `steps` is what the last search has cost."""

    def __init__(self, root: Tree, groups: int) -> None:
        self.groups = groups
        self.steps = 0
        # gnulib's has_plural_match
        self._plural = any(node.split or node.kind in (ALT, STAR) for node in bottom_up(root))
        self._nodes, self._first, self._same = _automaton(root, groups)
        self._closures: dict[int, frozenset[int]] = {}
        self._states: dict[tuple[frozenset[int], int], _State] = {}
        self._moves: dict[tuple[_State, str], _State] = {}
        self._edges = [node.edges for node in self._nodes]
        self._into: list[list[int]] = []  # the same ways, backward

    def search(self, text: str) -> Match | None:
        """The leftmost longest match.  EreLimit."""
        self.steps = 0
        for start in range(len(text) + 1):
            states = self._states_from(text, start)
            ends = (
                (start + n, self._last(text, start + n, states[n]))
                for n in range(len(states) - 1, -1, -1)
            )
            end, last = next((found for found in ends if found[1] >= 0), (-1, -1))
            if end < 0:
                continue
            if self.groups == 0:
                return ((start, end),)
            alive = [state.nodes for state in states[: end - start + 1]]
            if self._plural:
                alive = self._sift(text, start, end, last, states)
                if self._first not in alive[0]:
                    continue  # gnulib: REG_NOMATCH from prune_impossible_nodes, the next start is tried
            return self._walk(text, start, end, last, alive)
        return None

    def _step(self, count: int = 1) -> None:
        self.steps += count
        if self.steps > MAX_STEPS:
            raise EreLimit("the regular expression takes too long")

    # Forward: all ways at once

    def _states_from(self, text: str, start: int) -> list[_State]:
        """The states at `start` and behind, until no node is alive."""
        before = tree.PREV_LINE | tree.PREV_BUF | tree.PREV_NOTWORD
        if start > 0:
            before = tree.PREV_WORD if is_word(text[start - 1]) else tree.PREV_NOTWORD
        state = self._state(self._closure(self._first), before)
        states = []
        for at in range(start, len(text) + 1):
            self._step()
            if not state.nodes:
                break
            states.append(state)
            if at < len(text):
                move = (state, text[at])
                state = self._moves.get(move) or self._read(*move)
        return states

    def _read(self, state: _State, char: str) -> _State:
        behind: set[int] = set()
        for number in state.readers:
            # A newline satisfies `$` here, and `^` behind it: gnulib forgets that REG_NEWLINE is not set.
            if self._takes(number, char, _next(char) | tree.NEXT_LINE * (char == "\n")):
                behind |= self._closure(self._nodes[number].next)
        self._step(len(state.readers) + len(behind))
        word = tree.PREV_WORD if is_word(char) else tree.PREV_NOTWORD
        following = self._state(frozenset(behind), word | tree.PREV_LINE * (char == "\n"))
        self._moves[state, char] = following
        return following

    def _state(self, entered: frozenset[int], before: int) -> _State:
        """Of the nodes entered, those whose condition holds for what stands before."""
        state = self._states.get((entered, before))
        if state is None:
            alive = sorted(
                number for number in entered if not self._nodes[number].bits & tree.PREV & ~before
            )
            self._step(len(entered))
            state = self._states[entered, before] = _State(alive, self._nodes)
        return state

    def _closure(self, number: int) -> frozenset[int]:
        """The node, and all that can be reached from it without reading; conditions are not looked at."""
        closure = self._closures.get(number)
        if closure is None:
            closure = self._closures[number] = self._reach({number}, self._edges)
        return closure

    def _reach(self, start: set[int], edges: list[list[int]]) -> frozenset[int]:
        reached, stack = set(start), list(start)
        while stack:
            for way in edges[stack.pop()]:
                if way not in reached:
                    reached.add(way)
                    stack.append(way)
        self._step(len(reached))
        return frozenset(reached)

    def _takes(self, number: int, char: str, behind: int) -> bool:
        """Does this node read the character, where its condition on what follows is judged by `behind`?"""
        node = self._nodes[number]
        return (
            node.chars is not None
            and node.chars.accept(char)
            and not node.bits & tree.NEXT & ~behind
        )

    def _last(self, text: str, at: int, state: _State) -> int:
        behind = (
            _next(text[at])
            if at < len(text)
            else tree.NEXT_NOTWORD | tree.NEXT_LINE | tree.NEXT_BUF
        )
        return next(
            (number for number in state.ends if not self._nodes[number].bits & tree.NEXT & ~behind),
            -1,
        )

    # Backward: what leads to the end that was found

    def _sift(
        self, text: str, start: int, end: int, last: int, states: list[_State]
    ) -> list[frozenset[int]]:
        if not self._into:
            self._into = [[] for _ in self._nodes]
            for number, node in enumerate(self._nodes):
                for way in node.edges:
                    self._into[way].append(number)
        sifted: list[frozenset[int]] = []
        goal = {last}
        for at in range(end, start - 1, -1):
            state = states[at - start]
            self._step(len(state.readers))
            if at < end:
                char, behind = text[at], sifted[-1]
                goal = {
                    n
                    for n in state.readers
                    if self._nodes[n].next in behind and self._takes(n, char, _next(char))
                }
            sifted.append(frozenset(goal | (self._reach(goal, self._into) & state.nodes)))
        return sifted[::-1]

    # Forward again: one way, which sets the groups

    def _walk(
        self, text: str, start: int, end: int, last: int, alive: list[frozenset[int]]
    ) -> Match | None:
        spans: list[Span] = [(start, end)] + [(-1, -1)] * self.groups
        accepted = list(spans)
        number, at = self._first, start
        passed: set[int] = set()
        still = 0
        while True:
            self._step()
            node = self._nodes[number]
            if node.kind == OPEN:
                spans[node.group] = (at, -1)
            elif node.kind == CLOSE:
                spans, accepted = _closed(node, at, spans, accepted)
            if at == end and number == last:
                return tuple(None if spans[same][0] < 0 else spans[same] for same in self._same)
            if node.kind == CHARS:
                if at == end or not self._takes(number, text[at], _next(text[at])):
                    return None
                number, at = node.next, at + 1
                passed.clear()
                continue
            still = 0 if number not in passed else still + 1
            if still > len(self._nodes):
                raise EreLimit("GRUB would not come back from matching this regular expression")
            passed.add(number)
            ways = [way for way in node.edges if way in alive[at - start]]
            if not ways:
                return None
            number = ways[1] if len(ways) > 1 and ways[0] in passed else ways[0]


def _closed(
    node: _Node, at: int, spans: list[Span], accepted: list[Span]
) -> tuple[list[Span], list[Span]]:
    """The spans behind the end of a group, and those that a later round falls back to."""
    begin = spans[node.group][0]
    if begin >= at and node.optional and accepted[node.group][0] >= 0:
        return list(
            accepted
        ), accepted  # the round has matched nothing: undone, with its inner groups
    spans[node.group] = (begin, at)
    return spans, list(spans) if begin < at else accepted


def _next(char: str) -> int:
    return tree.NEXT_WORD if is_word(char) else tree.NEXT_NOTWORD
