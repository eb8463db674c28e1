"""What of a cell the book alone needs: numbers kept for its prose, and assertions.

The pages show the rest, and so does a reader's notebook, with the numbers in a cell that is folded.
"""

import ast
import re
import symtable
from collections.abc import Collection, Sequence


def split(source: str) -> tuple[str, str]:
    """What a reader sees of a cell, and what runs after it out of sight: the numbers of the prose.

    Assertions are left out, and so are numbers kept in the midst of a loop, which shows or stores them. A
    statement stays where it is if what follows it in the cell would change what it does. Of the assertion
    that a solution is right, the check is seen.

    >>> split("x = 1\\nlr.book.glue('x', x)\\nassert x\\nprint(x)")
    ('x = 1\\nprint(x)', "lr.book.glue('x', x)")
    >>> split("assert lr.book.check('ex-x', x)")
    ("lr.book.check('ex-x', x)", '')
    """
    source = re.sub(r"^assert (?=lr\.book\.check\()", "", source, flags=re.MULTILINE)
    body, lines = ast.parse(source).body, source.splitlines()
    gone: list[ast.stmt] = []
    kept: list[str] = []
    for number, statement in enumerate(body):
        later = body[number + 1 :]
        if not is_ours(statement):
            gone += [part for part in inner(statement) if is_ours(part)]
        elif not any(map(is_glue, leaves(statement))):
            gone.append(statement)
        elif not (bound(statement) & used(later) or used(statement) & bound(later)):
            gone.append(statement)
            asserts = [part for part in leaves(statement) if isinstance(part, ast.Assert)]
            kept.append(without(lines, asserts, statement))
    return without(lines, gone), "\n".join(kept)


def drop_switches(sources: list[str], numbers: list[str]) -> list[str]:
    """Leave out the sizes that only an assertion asked for.

    >>> drop_switches(["SMOKE = lr.book.scale(smoke=True, book=False)\\nprint(1)", "print(2)"], [])
    ['print(1)', 'print(2)']
    """
    asked = used("\n".join(sources + numbers))
    return [without(s.splitlines(), [x for x in ast.parse(s).body if is_idle(x, asked)]) for s in sources]


def needed(code: dict[int, str], solutions: set[int], stubs: Collection[int] = ()) -> set[int]:
    """The solutions, among numbered cells, that others cannot run without. A stub gives its name no value.

    >>> needed({1: "f = 1", 2: "f = 2", 3: "g = 3", 4: "f + g"}, {2, 3})
    {3}
    >>> needed({1: "f = 1", 2: "f = 2", 3: "g = 3", 4: "f"}, {2, 3}, stubs={1})
    {2}
    """
    found: set[int] = set()
    while True:
        have: set[str] = set()
        before = set(found)
        for k in sorted(code.keys() - solutions | found):
            missing = used(code[k]) - bound(code[k]) - have
            found |= {s for s in solutions if s < k and bound(code[s]) & missing}
            have = have - bound(code[k]) if k in stubs else have | bound(code[k])
        if found == before:
            return found


def without(lines: list[str], statements: Sequence[ast.stmt], within: ast.stmt | None = None) -> str:
    """The lines, or those of one statement, without some statements and the comments right above them."""
    gone = set()
    for statement in statements:
        first = statement.lineno
        while first > 1 and lines[first - 2].lstrip().startswith("#"):
            first -= 1
        gone |= set(range(first, (statement.end_lineno or first) + 1))
    first, last = (within.lineno, within.end_lineno or within.lineno) if within else (1, len(lines))
    text = "\n".join(lines[n - 1] for n in range(first, last + 1) if n not in gone)
    return re.sub(r"\n{4,}", "\n\n\n", text).strip("\n")


def leaves(statement: ast.stmt):
    """The statements inside loops, conditions and contexts; a function is one statement."""
    if isinstance(statement, ast.For | ast.If | ast.With):
        for part in (*statement.body, *getattr(statement, "orelse", ())):
            yield from leaves(part)
    else:
        yield statement


def inner(statement: ast.stmt):
    """All statements within one."""
    for part in ast.iter_child_nodes(statement):
        if isinstance(part, ast.stmt):
            yield part
            yield from inner(part)


def is_glue(statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and ast.unparse(call.func) == "lr.book.glue"


def is_ours(statement: ast.stmt) -> bool:
    """Numbers kept, assertions, and what holds nothing but these and names for them."""
    parts = list(leaves(statement))
    ours = [isinstance(part, ast.Assert) or is_glue(part) for part in parts]
    named = [isinstance(p, ast.Assign) and all(isinstance(t, ast.Name) for t in p.targets) for p in parts]
    return any(ours) and all(a or b for a, b in zip(ours, named, strict=True))


def is_idle(statement: ast.stmt, asked: set[str]) -> bool:
    size = isinstance(statement, ast.Assign) and ast.unparse(statement.value).startswith("lr.book.scale(")
    return size and not bound(statement) & asked


def used(code) -> set[str]:
    """The names of the notebook that code reads, in functions too."""
    tables = [symtable.symtable(text(code), "cell", "exec")]
    top = {s.get_name() for s in tables[0].get_symbols() if s.is_referenced()}
    while tables:
        table = tables.pop()
        top |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
        tables += table.get_children()
    return top


def bound(code) -> set[str]:
    """The names that code gives a value to."""
    table = symtable.symtable(text(code), "cell", "exec")
    return {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}


def text(code: str | ast.stmt | list[ast.stmt]) -> str:
    if isinstance(code, str):
        return code
    return ast.unparse(ast.Module(code if isinstance(code, list) else [code], []))
