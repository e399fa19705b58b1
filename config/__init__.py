"""Settings of a proxy: a TOML file, the environment and flags become one value.

Not: proxy, undo, what a setting does. Names here are what everybody else imports.
"""

from config.kinds import Address
from config.load import DEFAULT_FILE, ConfigError, load
from config.settings import ROWS, Row, Settings
from config.tags import Rule, TagRules

__all__ = [
    "DEFAULT_FILE",
    "ROWS",
    "Address",
    "ConfigError",
    "Row",
    "Rule",
    "Settings",
    "TagRules",
    "load",
]
