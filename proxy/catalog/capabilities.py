"""What a server can do, by name. The only file with version numbers."""


def returns_old(version: int) -> bool:
    """RETURNING gives the row before an UPDATE, too (`old`, `new`): PostgreSQL 18."""
    return version >= 180000


def pipeline_lasts(version: int) -> bool:
    """A simple query of one statement behind an Execute leaves the transaction of the pipeline
    open: PostgreSQL 18."""
    return version >= 180000


def version_number(server_version: str) -> int:
    """'18.6 (Debian ..)' -> 180006; pre-releases ('19beta1') count as their major version."""
    digits = ["", ""]
    part = 0
    for char in server_version:
        if char.isdigit():
            digits[part] += char
        elif char == "." and part == 0:
            part = 1
        else:
            break
    return int(digits[0] or 0) * 10000 + int(digits[1] or 0)
