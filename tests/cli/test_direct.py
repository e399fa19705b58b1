"""install, doctor and uninstall from the command line."""

from fix_postgres import Database

from proxy.demo.command import call


def test_install_twice_and_uninstall(database18: Database) -> None:
    url = database18.url()
    database18.psql("CREATE TABLE t (id int PRIMARY KEY)")
    some = call("install", "--upstream", url, "--no-all-tables").stdout
    assert "made schema hotrollback" in some
    assert "attached: public.t" not in some
    assert "made schema" not in call("install", "--upstream", url).stdout
    assert "attached: public.t" in call("install", "--upstream", url, "--all-tables").stdout

    refused = call("uninstall", "--upstream", url, check=False)
    assert refused.returncode == 2
    assert "say --yes" in refused.stderr
    assert database18.psql("SELECT to_regnamespace('hotrollback') IS NOT NULL") == [(True,)]

    assert "dropped schema hotrollback" in call("uninstall", "--upstream", url, "--yes").stdout
    assert database18.psql("SELECT to_regnamespace('hotrollback') IS NOT NULL") == [(False,)]
    assert "there is no undo log" in call("uninstall", "--upstream", url, "--yes").stdout


def test_doctor_changes_nothing_and_ends_with_1_where_install_would_refuse(
    database18: Database,
) -> None:
    url = database18.url()
    healthy = call("doctor", "--upstream", url)
    assert healthy.stdout.startswith("ok     server: PostgreSQL 18")
    database18.psql("CREATE PUBLICATION everything FOR ALL TABLES")
    sick = call("doctor", "--upstream", url, check=False)
    assert sick.returncode == 1
    assert "refuse publication: publication everything is FOR ALL TABLES" in sick.stdout
    refused = call("install", "--upstream", url, check=False)
    assert refused.returncode == 1
    assert "--accept-publication" in refused.stderr
    assert database18.psql("SELECT to_regnamespace('hotrollback') IS NOT NULL") == [(False,)]
    call("install", "--upstream", url, "--accept-publication")


def test_doctor_writes_the_grants_that_are_missing(database18: Database) -> None:
    done = call("doctor", "--upstream", database18.url("operator"), check=False)
    assert done.returncode == 1
    assert "    GRANT CREATE ON DATABASE" in done.stdout
