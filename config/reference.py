"""Writes docs/config.md from the table of settings: python -m config.reference > docs/config.md"""

import sys
from typing import Any, Final

from config.settings import ROWS, Row

_HEAD: Final = """\
# Settings

`hotrollback serve --config FILE` reads a TOML file; without the flag, the file that
`HOTROLLBACK_CONFIG` names, or `/etc/hotrollback.toml` where it exists. Every setting may also come
from an environment variable, and some from a flag: flags win over variables, variables over the
file. A setting that is not known, or a value that it cannot have, is an error that names the file,
the line, and what would be right.

```toml
upstream = "postgresql://operator@db.example:5432/shop"
listen = "0.0.0.0:6432"
admin = "/run/hotrollback"
retention = "30d"
max_log_size = "50GB"
```

<!-- Written by `python -m config.reference`: change config/settings.py. -->
"""

_TAGS: Final = """\
## Tagging by rule

A session that brings no tag of its own (`SET hotrollback.tag`, `PGOPTIONS`) gets that of the first
rule whose conditions all fit. `address` is an address or a network in CIDR notation; the others are
compared as they are. A rule's tag is the session's default: it survives `RESET ALL` and
`DISCARD ALL`, and `SET` overrides it.

```toml
[[tags]]
tag = "reports"
role = "report_job"
address = "10.2.0.0/16"

[[tags]]
tag = "migrations"
application = "flyway"
database = "shop"
```
"""


def page() -> str:
    return "\n".join([_HEAD, *(_section(row) for row in ROWS.values()), _TAGS])


def _section(row: Row) -> str:
    facts = [f"- value: {row.kind.allowed}", f"- default: {_default(row.show(row.default))}"]
    facts += [f"- variable: `{row.env}`"] if row.env else []
    facts += [f"- flag: `{row.flag} {row.metavar}`"] if row.flag else []
    return f"## `{row.name}`\n\n{row.doc}\n\n" + "\n".join(facts) + "\n"


def _default(shown: Any) -> str:
    return f"`{shown}`" if shown else "not set"


if __name__ == "__main__":
    sys.stdout.write(page())
