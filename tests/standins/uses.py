"""What a source uses of `torch_utils`, in the words of `tests/data/api_surface.json`."""

import ast


def uses_in(text: str) -> list[tuple[str, str, int]]:
    """Uses of `torch_utils` in a source: name, description as in the list, line."""
    tree = ast.parse(text)
    modules = {}  # local name -> full name
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("torch_utils"):
            for alias in node.names:
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    uses, described = [], set()

    def describe(node, use):
        uses.append((f"{modules[node.value.id]}.{node.attr}", use, node.lineno))
        described.add(id(node))

    def is_use(node):
        return (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in modules
        )

    def arguments_of(call):
        keywords = [keyword.arg for keyword in call.keywords]
        text = f"{len(call.args)} positional"
        return text + (f", keywords {', '.join(keywords)}" if keywords else "")

    for node in ast.walk(tree):  # parents come before their children
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            for decorator in filter(is_use, node.decorator_list):
                describe(decorator, f"decorator on a {kind}")
        elif isinstance(node, ast.withitem):
            call = node.context_expr
            if isinstance(call, ast.Call) and is_use(call.func):
                describe(call.func, f"context manager: {arguments_of(call)}")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Subscript):
            if is_use(node.value.value):
                describe(node.value.value, f"indexed, then attribute {node.attr}")
        elif isinstance(node, ast.Call) and is_use(node.func) and id(node.func) not in described:
            describe(node.func, f"call: {arguments_of(node)}")
        elif is_use(node) and id(node) not in described:
            describe(node, "other")
    return uses


def imports_in(text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found
