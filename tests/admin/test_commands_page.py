"""docs/commands.md is what proxy/admin/reference.py writes."""

from pathlib import Path

from proxy.admin.reference import page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_up_to_date() -> None:
    """If not: python -m proxy.admin.reference > docs/commands.md"""
    assert (DOCS / "commands.md").read_text() == page()
