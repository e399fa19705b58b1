"""PostgreSQL's tokens with their offsets, over bytes; true to src/backend/parser/scan.l (15 to 18).

One compiled alternation finds every token together with the blanks before it. What a regular
expression cannot do (nested comments, the +/- rule of operators) is done by hand at its place.
Everything that repeats is possessive, so that no text can make it slow.
"""

import re
from typing import Final, NamedTuple

WORD: Final = 1  # an identifier or a key word, not quoted
SIGN: Final = 2  # ( ) [ ] , ; . : :: := .. and operators
NUMBER: Final = 3
STRING: Final = 4  # all quoted constants: '' E'' U&'' B'' X'' $$
QUOTED: Final = 5  # "identifier"
PARAM: Final = 6  # $1
UNICODE: Final = 7  # U&"identifier", whose name depends on escapes
_OPERATOR: Final = 8
_COMMENT: Final = 9
_END: Final = 10
_OTHER: Final = 11

LITERALS: Final = frozenset((NUMBER, STRING))


class Token(NamedTuple):
    kind: int
    start: int
    end: int
    word: bytes  # WORD: folded to lower case; SIGN: as written; else empty


class LexError(ValueError):
    """The server cannot read this text either, so that it runs nothing of it."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(f"{what} at byte {offset}")
        self.offset = offset


_SPACE: Final = rb"[ \t\n\r\f\v]"
_START: Final = rb"[A-Za-z_\x80-\xff]"
_IDENTIFIER: Final = _START + rb"[A-Za-z_0-9$\x80-\xff]*+"
_DIGITS: Final = rb"[0-9](?:_?[0-9])*+"
_NUMBER: Final = (
    rb"(?:0[xX](?:_?[0-9A-Fa-f])++|0[oO](?:_?[0-7])++|0[bB](?:_?[01])++"
    rb"|(?:" + _DIGITS + rb"(?:\.(?!\.)(?:" + _DIGITS + rb")?+)?+|\." + _DIGITS + rb")"
    rb"(?:[eE][+-]?" + _DIGITS + rb")?+)(?!" + _START + rb")"
)
# A constant goes on behind white space that has a line break, by the rules that it began with.
_CONTINUED: Final = rb"(?:[ \t\f\v]|--[^\n\r]*+)*+[\n\r](?:" + _SPACE + rb"++|--[^\n\r]*+[\n\r])*+"
_PLAIN: Final = rb"'[^']*+(?:''[^']*+)*+'"
_BITS: Final = rb"'[^']*+'"
_ESCAPED: Final = rb"'[^'\\]*+(?:(?:''|\\[\s\S])[^'\\]*+)*+'"


def _going_on(quoted: bytes) -> bytes:
    return quoted + rb"(?:" + _CONTINUED + quoted + rb")*+"


def _alternation(plain: bytes) -> re.Pattern[bytes]:
    strings = rb"|".join((
        _going_on(plain),
        rb"[eE]" + _going_on(_ESCAPED),
        rb"[bBxX]" + _going_on(_BITS),
        rb"[uU]&" + _going_on(_PLAIN),
        rb"(?P<tag>\$(?:" + _START + rb"[A-Za-z_0-9\x80-\xff]*+)?+\$)[\s\S]*?(?P=tag)",
    ))  # fmt: skip
    groups = (
        # What looks like the first letter of a quoted constant is left to STRING and UNICODE.
        rb"(?![eEbBxX]'|[uU]&['\"])" + _IDENTIFIER,
        rb"::|:=|\.\.|[,()\[\];:]|\.(?![0-9])",
        _NUMBER,
        strings,
        rb'"[^"]*+(?:""[^"]*+)*+"',
        rb"\$[0-9]++(?!" + _START + rb")",
        rb'[uU]&"[^"]*+(?:""[^"]*+)*+"',
        rb"(?:(?!--|/\*)[~!@#^&|`?+\-*/%<>=])++",
        rb"--[^\n\r]*+|/\*",
        rb"[\s\S]",
    )
    # The dollar tag is a group inside STRING, which ends first: lastindex is that of STRING.
    numbered = rb"|".join(b"(" + group + b")" for group in groups)
    # The end belongs to it: else blanks there would be tried again from each one of them.
    return re.compile(_SPACE + rb"*+(?:" + numbered + rb"|\Z)")


# By number of the group; 5 is the dollar tag.
_KIND: Final = (
    _END, WORD, SIGN, NUMBER, STRING, STRING, QUOTED, PARAM, UNICODE, _OPERATOR, _COMMENT, _OTHER,
)  # fmt: skip
_STANDARD: Final = _alternation(_PLAIN)
_BACKSLASH: Final = _alternation(_ESCAPED)
_NAME_LENGTH: Final = 63  # NAMEDATALEN - 1
_COMMENT_SIGN: Final = re.compile(rb"/\*|\*/")
_MAKES_SIGN_OK: Final = re.compile(rb"[~!@#^&|`?%]")


def lex(text: bytes, standard_conforming_strings: bool = True) -> list[Token]:  # noqa: FBT001, FBT002
    """All tokens of a text of any number of statements. Raises LexError."""
    tokens: list[Token] = []
    pattern = _STANDARD if standard_conforming_strings else _BACKSLASH
    position: int | None = 0
    while position is not None:
        position = _run(text, pattern, position, tokens)
    return tokens


def _run(text: bytes, pattern: re.Pattern[bytes], position: int, tokens: list[Token]) -> int | None:
    """Reads on from there; an offset if it must go on behind a comment, None at the end."""
    append = tokens.append
    new = tuple.__new__  # half the time of Token(..)
    folded = text.lower()
    for match in pattern.finditer(text, position):
        group = match.lastindex or 0
        start, end = match.span(group)
        kind = _KIND[group]
        if kind <= SIGN or (kind == _OPERATOR and end - start == 1):
            kind = WORD if kind == WORD else SIGN
            append(new(Token, (kind, start, end, folded[start:end])))
        elif kind < _OPERATOR:
            append(new(Token, (kind, start, end, b"")))
        elif kind == _OPERATOR:
            _operator(text, start, end, tokens)
        elif kind == _COMMENT:
            if text.startswith(b"/*", start):
                return _after_comment(text, start)
        elif kind == _OTHER:
            raise LexError(start, "not a token")
    return None


def _operator(text: bytes, start: int, end: int, tokens: list[Token]) -> None:
    """An operator ends in + or - only if a sign of _MAKES_SIGN_OK is in it; what is cut off are
    operators of their own."""
    stop = end
    if end - start > 1 and text[end - 1] in b"+-" and not _MAKES_SIGN_OK.search(text, start, end):
        stop = start + max(1, len(text[start:end].rstrip(b"+-")))
    tokens.append(Token(SIGN, start, stop, text[start:stop]))
    tokens.extend(Token(SIGN, at, at + 1, text[at : at + 1]) for at in range(stop, end))


def _after_comment(text: bytes, start: int) -> int:
    depth = 0
    for sign in _COMMENT_SIGN.finditer(text, start):
        depth += 1 if sign[0] == b"/*" else -1
        if depth == 0:
            return sign.end()
    raise LexError(start, "unterminated comment")


def name_of(text: bytes, token: Token) -> str | None:
    """The identifier that a WORD or QUOTED token is, as the server reads it; None if that cannot
    be said without its encoding."""
    if token.kind == WORD:
        name = token.word
    elif token.kind == QUOTED:
        name = text[token.start + 1 : token.end - 1].replace(b'""', b'"')
    else:
        return None
    if len(name) > _NAME_LENGTH:
        if not name.isascii():
            return None
        name = name[:_NAME_LENGTH]
    return name.decode("utf-8", "surrogateescape")
