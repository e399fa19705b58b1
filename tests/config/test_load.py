"""Where settings come from, and what wrong ones are told."""

import pickle
from datetime import timedelta
from pathlib import Path

import pytest

from config import ROWS, Address, ConfigError, Settings, load

FULL = """
upstream = "postgresql://operator@db.example/shop"
listen = "[::1]:7000"
admin = "/run/hotrollback"
workers = 4
capture = "off"
on_gap = "reject"
on_log_error = "fail"
retention = "30d"
max_log_size = "10GB"
grace = "1.5s"

[[tags]]
tag = "reports"
role = "report_job"
"""


def wrong(text: str, tmp_path: Path) -> str:
    file = tmp_path / "conf.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(file, environ={})
    return str(refused.value).removeprefix(f"{file}")


def test_nothing_given_is_the_defaults() -> None:
    settings = load(environ={})
    assert settings == Settings()
    assert (settings.listen_host, settings.listen_port, settings.capture) == (
        *("127.0.0.1", 6432),
        True,
    )


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "conf.toml"
    file.write_text(FULL)
    settings = load(file, environ={})
    assert settings.listen == Address("::1", 7000)
    assert settings.admin == Path("/run/hotrollback")
    assert (settings.workers, settings.capture, settings.on_gap) == (4, False, "reject")
    assert settings.retention == timedelta(days=30)
    assert (settings.max_log_size, settings.grace) == (10 << 30, 1.5)
    assert settings.sources["workers"] == f"{file}:5"


@pytest.mark.parametrize("capture", ["true", "false"])
def test_switches_may_be_booleans(capture: str, tmp_path: Path) -> None:
    file = tmp_path / "conf.toml"
    file.write_text(f"capture = {capture}")
    assert load(file, environ={}).capture is (capture == "true")


def test_flags_win_over_variables_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "conf.toml"
    file.write_text("workers = 2\nadmin_port = 1\non_gap = 'reject'")
    environ = {"HOTROLLBACK_WORKERS": "3", "HOTROLLBACK_ADMIN_PORT": "2"}
    settings = load(file, flags={"workers": "4", "listen": None}, environ=environ)
    assert (settings.workers, settings.admin_port, settings.on_gap) == (4, 2, "reject")
    assert settings.sources["workers"] == "--workers"
    assert settings.sources["admin_port"] == "HOTROLLBACK_ADMIN_PORT"


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "conf.toml"
    file.write_text("workers = 2")
    assert load(environ={"HOTROLLBACK_CONFIG": str(file)}).workers == 2


def test_variables_of_others_are_left_alone() -> None:
    """As a Kubernetes service called hotrollback brings them."""
    environ = {"HOTROLLBACK_SERVICE_HOST": "10.0.0.1", "HOTROLLBACK_PORT": "tcp://10.0.0.1:6432"}
    assert load(environ=environ) == Settings()


def test_settings_reach_a_worker_process(tmp_path: Path) -> None:
    file = tmp_path / "conf.toml"
    file.write_text(FULL)
    settings = load(file, environ={})
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('x = 1\nretentoin = "30d"', ': unknown setting "x": there are upstream, listen, '),
        ('\n\nretentoin = "30d"', ':3: unknown setting "retentoin": did you mean "retention"?'),
        ("workers = 0", ":1: workers must be a whole number from 1 to 256, not 0"),
        ("workers = true", ":1: workers must be a whole number from 1 to 256, not True"),
        ('capture = "maybe"', ':1: capture must be "on" or "off", not \'maybe\''),
        ('on_gap = "stop"', ':1: on_gap must be one of "warn", "reject", not \'stop\''),
        ("retention = 30", ":1: retention must be a duration longer than 0, a number with a unit"),
        ("grace = 30", ":1: grace must be a duration, a number with a unit of ms, s, min"),
        ('retention = "0d"', ":1: retention must be a duration longer than 0"),
        ('max_log_size = "10 gigs"', ":1: max_log_size must be a size above 0"),
        ('statement_limit = "1GB"', ":1: statement_limit must be a size above 0, up to 256MB"),
        ('listen = "6432"', ':1: listen must be HOST:PORT, such as "127.0.0.1:6432"'),
        ('upstream = "mysql://x"', ":1: upstream must be an address such as postgresql://"),
        ("a =", ": not TOML: Invalid value (at end of document)"),
        ('[[tags]]\ntag = "x"', ":1: tags must be a list of tables, each with tag and at least"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str, tmp_path: Path) -> None:
    """File, line, key, and what would be right."""
    told = wrong(text, tmp_path)
    assert told.startswith(said) or told.split(": ", 1)[1].startswith(said.split(": ", 1)[1])


def test_a_wrong_upstream_is_not_repeated(tmp_path: Path) -> None:
    assert "s3cret" not in wrong('upstream = "mysql://u:s3cret@h/d"', tmp_path)


def test_wrong_variables_and_flags_are_named() -> None:
    with pytest.raises(ConfigError, match=r"^HOTROLLBACK_WORKERS: workers must be a whole number"):
        load(environ={"HOTROLLBACK_WORKERS": "many"})
    with pytest.raises(ConfigError, match=r"^--listen: listen must be HOST:PORT"):
        load(flags={"listen": "here"}, environ={})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file or directory$"):
        load(tmp_path / "nowhere.toml", environ={})


def test_what_is_needed_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"^upstream is not set: give --upstream URL"):
        load(environ={}, needs=("upstream",))


@pytest.mark.parametrize("name", [name for name in ROWS if name not in {"tags", "upstream"}])
def test_shown_values_read_back(name: str) -> None:
    """SHOW CONFIG says values as a config file would."""
    row = ROWS[name]
    if row.default is not None:
        assert row.kind.read(row.show(row.default)) == row.default


def test_passwords_are_not_shown() -> None:
    shown = ROWS["upstream"].show("postgresql://u:s3cret@h:1/d")
    assert "s3cret" not in shown
    assert "u" in shown
