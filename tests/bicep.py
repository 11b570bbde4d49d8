"""Bicep files, read as far as our checks need: declarations, their bodies, what they refer to.

The syntax tree is tree-sitter's. Nothing is evaluated; what can only be known at deployment stays an
expression. `.bicepparam` files have a grammar of their own, which differs from Bicep's in one word.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

_LANGUAGE = Language(tree_sitter_bicep.language())
_KINDS = {
    "import_functionality": "import",
    "type_declaration": "type",
    "parameter_declaration": "param",
    "variable_declaration": "var",
    "resource_declaration": "resource",
    "module_declaration": "module",
    "output_declaration": "output",
}


@dataclass(frozen=True)
class Declaration:
    """One statement that names something: ``kind`` is import, type, param, var, resource, module or output.

    An import of several names is as many declarations.
    """

    kind: str
    name: str
    node: Node
    decorators: dict[str, Node]
    comment: str
    """The comment's lines directly above, without their slashes."""

    @property
    def value(self) -> Node | None:
        """What stands after the equals sign."""
        return self.node.children[-1] if any(child.type == "=" for child in self.node.children) else None

    @property
    def body(self) -> dict[str, Node]:
        """The properties of a resource or module, whether it is repeated or conditional or neither."""
        return properties(bare(self.value)) if self.value else {}

    @property
    def target(self) -> str:
        """A resource's ``type@version``; the path of a module, or of what is imported from."""
        return next(literal(child) or "" for child in self.node.children if child.type == "string")

    @property
    def existing(self) -> bool:
        """Whether the resource is only referred to."""
        return any(child.type == "existing" for child in self.node.children)

    @property
    def type_names(self) -> list[Node]:
        """The types of this project that a parameter's or an output's own type refers to."""
        declared = [child for child in self.node.children if child.type == "type" and child.children]
        return [name for child in declared for name in names(child)]

    @property
    def description(self) -> str:
        """What ``@description`` says."""
        given = self.decorators.get("description")
        return (literal(given.named_children[0]) or "") if given else ""


@dataclass(frozen=True)
class Bicep:
    """One file."""

    path: Path
    root: Node

    @cached_property
    def declarations(self) -> tuple[Declaration, ...]:
        """All declarations, in the file's order."""
        found = []
        decorators: dict[str, Node] = {}
        comments: list[str] = []
        above = -1
        for node in self.root.children:
            if node.start_point.row > above + 1:
                comments = []
            above = node.end_point.row
            if node.type == "comment":
                comments.append(text(node).removeprefix("//").strip())
            elif node.type == "decorators":
                for decorator in node.children:
                    call = decorator.named_children[0]
                    decorators[text(call.named_children[0])] = call.named_children[1]
            else:
                if node.type in _KINDS:
                    kind, comment = _KINDS[node.type], "\n".join(comments)
                    named = [text(child) for child in node.children if child.type == "identifier"]
                    found += [Declaration(kind, name, node, decorators, comment) for name in named]
                decorators, comments = {}, []
        return tuple(found)

    def all(self, kind: str) -> dict[str, Declaration]:
        """The declarations of one kind by name."""
        return {each.name: each for each in self.declarations if each.kind == kind}

    @property
    def mistakes(self) -> Iterator[str]:
        """Where the file is not Bicep."""
        for node in walk(self.root):
            if node.is_error or node.is_missing:
                yield f"{self.at(node)}: not Bicep: {text(node)[:60]!r}"

    def at(self, node: Node) -> str:
        """The place of a node, for people."""
        return f"{self.path.name}:{node.start_point.row + 1}"


def read(path: Path) -> Bicep:
    """Read a `.bicep` or `.bicepparam` file."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".bicepparam":
        # The grammar has no assignments of parameters; a variable's looks the same and is as long.
        source = re.sub(r"^param ", "var   ", source, flags=re.MULTILINE)
    return Bicep(path, Parser(_LANGUAGE).parse(source.encode()).root_node)


def text(node: Node) -> str:
    """The source of a node."""
    return (node.text or b"").decode()


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it, in the order of the source."""
    waiting = [node]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += reversed(each.children)


def literal(node: Node) -> str | None:
    """The value of a string without interpolation; ``None`` for everything else."""
    if node.type != "string" or any(child.type == "interpolation" for child in node.children):
        return None
    return re.sub(r"\\(.)", r"\1", text(node)[1:-1])


def bare(node: Node) -> Node:
    """What is repeated by ``for``, or depends on ``if``."""
    while node.type in ("for_statement", "if_statement"):
        node = node.named_children[-1]
    return node


def properties(node: Node) -> dict[str, Node]:
    """The properties of an object; of keys that are computed, the source."""
    if node.type != "object":
        return {}
    pairs = [items(child) for child in node.children if child.type == "object_property"]
    return {literal(pair[0]) or text(pair[0]): pair[-1] for pair in pairs}


def items(node: Node) -> list[Node]:
    """The items of an array, without comments; of one made by ``for``, the one that stands for all."""
    if node.type == "for_statement":
        return [bare(node)]
    return [child for child in node.named_children if not child.type.endswith("comment")]


def names(node: Node) -> Iterator[Node]:
    """The identifiers that refer to something: no keys, no members, no functions."""
    for each in walk(node):
        parent = each.parent
        if each.type != "identifier" or parent is None or _is_called(each):
            continue
        if parent.type != "object_property" or parent.children[0] != each:
            yield each


def calls(node: Node) -> Iterator[Node]:
    """The names of the functions that are called."""
    for each in walk(node):
        if each.type in ("identifier", "property_identifier") and _is_called(each):
            yield each


def _is_called(node: Node) -> bool:
    # By the source: the grammar takes a call at an array's beginning for a name and something in parentheses.
    around = node.parent
    while around is not None and around.end_byte == node.end_byte:
        around = around.parent
    return around is not None and (around.text or b"")[node.end_byte - around.start_byte :].startswith(b"(")


def local_names(node: Node) -> set[str]:
    """The names that ``for`` and lambdas give, anywhere below."""
    found: set[str] = set()
    for each in walk(node):
        if each.type in ("loop_variable", "loop_enumerator"):
            found.add(text(each))
        elif each.type == "for_statement":
            found |= {text(child) for child in each.children[2:3] if child.type == "identifier"}
        elif each.type == "lambda_expression":
            found |= {text(name) for name in names(each.children[0])}
    return found
