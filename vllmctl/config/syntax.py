"""The YAML parser's complaints, in words for a person who has a file open in an editor. Pure."""

from __future__ import annotations

_TABLE: tuple[tuple[str, str, str], ...] = (
    # a part of the complaint, what it means, what to do
    (
        "character '\\t'",
        "a tab cannot be used here",
        "indent with spaces",
    ),
    (
        "mapping values are not allowed here",
        "a ': ' is not possible here",
        "check the indentation, or put the value in quotes if the colon belongs to it",
    ),
    (
        "could not find expected ':'",
        "a ':' is missing after a key",
        "write 'key: value'; text over several lines needs quotes",
    ),
    (
        "unexpected end of stream",
        "a quote is never closed",
        "close it",
    ),
    (
        "expected ',' or ']'",
        "a list that begins with '[' is not continued or closed here",
        "write ',' or ']'",
    ),
    (
        "expected ',' or '}'",
        "a mapping that begins with '{' is not continued or closed here",
        "write ',' or '}'",
    ),
    (
        "expected the node content",
        "a value is missing here",
        "write one, or close the bracket",
    ),
    (
        "expected <block end>",
        "is not indented like the lines it belongs with",
        "indent the keys of one mapping alike",
    ),
    (
        "that cannot start any token",
        "an unquoted value cannot begin with this character",
        "put the value in quotes",
    ),
    (
        "unknown escape character",
        "the escape after '\\' is unknown",
        "use single quotes, or write '\\\\'",
    ),
    (
        "expected '<document start>'",
        "does not belong to what stands above",
        "check the indentation and the quotes",
    ),
)


def explain(problem: str, context: str | None, following: str) -> tuple[str, str]:
    """A message and a remedy. `following` is what stands at the place."""
    if problem.startswith("expected ',' or ") and following.startswith("{"):
        return (
            "a '{' within '[ ]' or '{ }' begins a mapping",
            'put it in quotes if it is text such as "${VAR}" or "{port}"',
        )
    for part, message, suggestion in _TABLE:
        if part in problem:
            return message, suggestion
    if context and ("anchor" in context or "alias" in context):
        return (
            "a value cannot begin with '&' or '*', unless it names an anchor",
            "put it in quotes",
        )
    where = f" ({context.removeprefix('while ')})" if context else ""
    # The parser's own words may quote a few characters of the file, never a whole value.
    return f"is not YAML: {problem}{where}".replace("\0", "the end"), "check this line"
