"""Rules that tag sessions."""

import pytest

from config.tags import BadRule, TagRules

WHO = {"role": "app", "database": "shop", "application": "web", "address": "10.2.3.4"}


def rules(*given: dict[str, str]) -> TagRules:
    return TagRules.read(list(given))


def test_no_rules_no_tag() -> None:
    assert TagRules().tag_of(**WHO) is None


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ({"role": "app"}, True),
        ({"role": "App"}, False),
        ({"database": "shop"}, True),
        ({"application": "worker"}, False),
        ({"address": "10.2.3.4"}, True),
        ({"address": "10.2.0.0/16"}, True),
        ({"address": "10.3.0.0/16"}, False),
        ({"address": "fe80::/10"}, False),
        ({"role": "app", "database": "shop", "application": "web"}, True),
        ({"role": "app", "database": "other"}, False),
    ],
)
def test_every_condition_has_to_fit(condition: dict[str, str], *, fits: bool) -> None:
    assert (rules({"tag": "t", **condition}).tag_of(**WHO) == "t") is fits


def test_the_first_that_fits_wins() -> None:
    found = rules(
        {"tag": "a", "role": "nobody"}, {"tag": "b", "role": "app"}, {"tag": "c", "role": "app"}
    )
    assert found.tag_of(**WHO) == "b"


@pytest.mark.parametrize("address", ["", "[local]"])
def test_a_unix_socket_has_no_address(address: str) -> None:
    found = rules({"tag": "t", "address": "0.0.0.0/0"})
    assert found.tag_of(**{**WHO, "address": address}) is None


def test_addresses_with_a_scope() -> None:
    found = rules({"tag": "t", "address": "fe80::/10"})
    assert found.tag_of(**{**WHO, "address": "fe80::1%eth0"}) == "t"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"role": "app"}, "rule 1 has no tag"),
        ({"tag": "t"}, "rule 1 has no condition: give one of application, role, database, address"),
        ({"tag": "t", "rolle": "x"}, 'rule 1 has the unknown key "rolle"'),
        ({"tag": "", "role": "x"}, "rule 1: tag must be text that is not empty"),
        ({"tag": "t", "role": 1}, "rule 1: role must be text that is not empty"),
        ({"tag": "t", "address": "10.2.3.4/8"}, "rule 1: address 10.2.3.4/8 has host bits set"),
        ({"tag": "t", "address": "office"}, "rule 1: address 'office' does not appear to be"),
    ],
)
def test_what_is_wrong_is_said(rule: dict[str, object], said: str) -> None:
    with pytest.raises(BadRule) as refused:
        TagRules.read([rule])
    assert str(refused.value).startswith(said)


def test_a_table_instead_of_a_list_is_said() -> None:
    with pytest.raises(BadRule, match=r"write each rule below a line \[\[tags\]\]"):
        TagRules.read({"tag": "t", "role": "app"})
