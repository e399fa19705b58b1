"""docs/config.md is what config/reference.py writes."""

from pathlib import Path

from config.reference import page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_up_to_date() -> None:
    """If not: python -m config.reference > docs/config.md"""
    assert (DOCS / "config.md").read_text() == page()
