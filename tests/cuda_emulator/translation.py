"""CUDA C++ as C++ that g++ compiles: what macros of `cuda_emulator.h` cannot replace."""

import re

# In a function, dynamic shared memory is a pointer, where C++ has no such array.
_DYNAMIC = r"extern\s+__shared__\s+(?:(?:__align__|alignas)\(\w+\)\s*)?([\w ]+?)\s+(\w+)\[\];"
_STATIC = r"__shared__\s+(?:(?:__align__|alignas)\s*\((\w+)\)\s*)?([^;]+);"
_DECLARATION = re.compile(rf"//[^\n]*|{_DYNAMIC}|{_STATIC}")
_NAME = re.compile(r"(.*?)(\w+)\s*((?:\[.*\])?)\s*", re.DOTALL)


def translate(text: str) -> str:
    """Source whose variables in shared memory are references to what the emulator places.

    Lines keep their numbers.
    """
    return _DECLARATION.sub(_translate_declaration, text)


def _translate_declaration(match: re.Match) -> str:
    dynamic_type, dynamic_name, alignment, variables = match.groups()
    if dynamic_name:
        return (
            f"{dynamic_type}* const {dynamic_name} = "
            f"static_cast<{dynamic_type}*>(emulator::dynamic_shared());"
        )
    if not variables:
        return match[0]  # a comment
    result, base = "", ""
    for variable in _split(variables):
        first, name, size = _NAME.fullmatch(variable.strip()).groups()
        base = first.strip() or base
        alignment = alignment or f"alignof({name}_type)"
        result += (
            f"using {name}_type = {base} {size}; "
            f"static constinit emulator::SharedArray {name}_place = "
            f'{{"{name}", sizeof({name}_type), {alignment}, emulator::has_nan<{name}_type>}}; '
            f"{name}_type& {name} = *static_cast<{name}_type*>(emulator::place({name}_place)); "
        )
    return result.replace("\n", " ") + "\n" * match[0].count("\n")


def _split(variables: str) -> list[str]:
    """The declarations between the commas that are in no brackets."""
    parts, depth, angles = [""], 0, 0
    for character in variables:
        depth += (character in "[(") - (character in "])")
        if depth == 0:  # elsewhere, these compare
            angles += (character == "<") - (character == ">")
        if character == "," and depth == angles == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
