"""The hotrollback command: its flags, its commands, its exit codes.

Cheap to import: what a command needs is imported when it runs. Not: SQL, what an undo is.

Exit codes: 0 done, 1 failed, 2 usage, 3 conflicts (nothing was changed), 4 gaps that were not
accepted (nothing was changed).
"""

# ruff: noqa: PLC0415 (imported when it runs)

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

from config import ROWS, ConfigError, Settings, load

FAILED = 1
USAGE = 2
INTERRUPTED = 130

Arguments = argparse.Namespace


def settings_of(args: Arguments, needs: tuple[str, ...] = ()) -> Settings:
    """Raises ConfigError."""
    flags = {name: getattr(args, name, None) for name in ROWS}
    return load(args.config, flags=flags, needs=needs)


def serve(args: Arguments) -> int:
    from proxy.net.supervisor import serve as serve_clients

    settings = settings_of(args, needs=("upstream",))
    try:
        return serve_clients(settings)
    except OSError as error:
        print(
            f"hotrollback: cannot serve on {settings.listen}"
            f"{f' with the admin socket in {settings.admin}' if settings.admin else ''}:"
            f" {error.strerror or error}",
            file=sys.stderr,
        )
        return FAILED


def install(args: Arguments) -> int:
    from proxy import direct

    return _direct(
        direct.install(
            settings_of(args, needs=("upstream",)),
            all_tables=args.all_tables,
            accept_publication=args.accept_publication,
        )
    )


def uninstall(args: Arguments) -> int:
    from proxy import direct

    return _direct(direct.uninstall(settings_of(args, needs=("upstream",)), yes=args.yes))


def doctor(args: Arguments) -> int:
    from proxy import direct

    return _direct(direct.doctor(settings_of(args, needs=("upstream",))))


def _direct(work: Any) -> int:
    from proxy import direct
    from proxy.asking import NobodyToAsk

    try:
        return int(asyncio.run(work))
    except NobodyToAsk as error:
        return failed(error, USAGE)
    except direct.FAILURES as error:
        return failed(error)


def remote(args: Arguments) -> int:
    """A command of the admin console."""
    from proxy import remote as commands
    from proxy.asking import NobodyToAsk

    if commands.selects_nothing(args.command, args) and not getattr(args, "plan_file", None):
        args.parser.error("say what to undo: " + ", ".join(commands.selector_flags(args.command)))
    try:
        return commands.run(settings_of(args), args.command, args)
    except (NobodyToAsk, commands.BadPlan) as error:
        return failed(error, USAGE)
    except commands.FAILURES as error:
        return failed(error)
    except KeyboardInterrupt:
        if commands.asks_first(args.command):
            print(
                "hotrollback: interrupted: it is given up and rolled back, unless it was done by"
                " then; hotrollback show undos tells",
                file=sys.stderr,
            )
        return INTERRUPTED


def demo(_args: Arguments) -> int:
    from proxy.demo import main as tell

    return tell()


class Version(argparse.Action):
    """The stock action would look the version up for every command."""

    def __call__(self, *_: Any) -> None:
        from importlib.metadata import version

        from proxy.compiled import COMPILED

        print(f"hotrollback {version('hotrollback')} ({'compiled' if COMPILED else 'pure Python'})")
        sys.exit()


def failed(error: Exception, status: int = FAILED) -> int:
    print(f"hotrollback: {error}", file=sys.stderr)
    return status


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="hotrollback",
        description="An undo button for PostgreSQL, while everything stays online.",
        epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 conflicts (nothing was changed),"
        " 4 gaps that were not accepted (nothing was changed).",
        allow_abbrev=False,
    )
    top.add_argument("--version", action=Version, nargs=0, help="say which version this is")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[Arguments], int], told: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=told, description=told, allow_abbrev=False)
        made.set_defaults(run=run)
        return made

    demo_told = "a shop, a bad deploy and its undo, on a PostgreSQL of its own"
    command("demo", demo, demo_told)
    made = command("doctor", doctor, "say what install would meet; changes nothing")
    _settings(made, "upstream")
    made = command("install", install, "make or upgrade the undo log in a database")
    _settings(made, "upstream")
    made.add_argument(
        "--all-tables",
        action=argparse.BooleanOptionalAction,
        help="give every table a capture trigger, as is the default; or only those whose rows are"
        " not all recorded without one",
    )
    made.add_argument(
        "--accept-publication",
        action="store_true",
        help="go on although a publication FOR ALL TABLES will carry the log to its subscribers",
    )
    made = command("uninstall", uninstall, "take the undo log out of a database again")
    _settings(made, "upstream")
    made.add_argument("--yes", action="store_true", help="do not ask")
    made = command("serve", serve, "be the proxy")
    _settings(made, *(row.name for row in ROWS.values() if row.flag))
    _remote_commands(commands)
    return top


def _remote_commands(to: Any) -> None:
    """Those of the admin console, as its table has them."""
    from proxy import remote as flags

    for word, members in flags.families().items():
        if len(members) == 1:
            _remote_command(to, word, members[0])
            continue
        told = members[0].help if word == "show" else f"{word} {' or '.join(_last(members))}"
        family = to.add_parser(
            word, help=f"{word} {'|'.join(_last(members))}", description=told, allow_abbrev=False
        )
        inner = family.add_subparsers(metavar=word.upper(), required=True)
        for member, last in zip(members, _last(members), strict=True):
            _remote_command(inner, last, member)


def _last(members: Sequence[Any]) -> list[str]:
    return [member.last_word for member in members]


def _remote_command(to: Any, name: str, command: Any) -> None:
    from proxy import remote as flags

    made = to.add_parser(name, help=command.help, description=command.help, allow_abbrev=False)
    _settings(made, "admin")
    flags.add_flags(made, command)
    made.set_defaults(run=remote, command=command, parser=made)


def _settings(to: argparse.ArgumentParser, *names: str) -> None:
    """The flags of some settings, and of the file that may hold them."""
    to.add_argument("--config", metavar="FILE", help="a TOML file of settings (docs/config.md)")
    for name in names:
        row = ROWS[name]
        to.add_argument(row.flag, dest=name, metavar=row.metavar, help=row.doc.partition(".")[0])


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    run: Callable[[Arguments], int] = args.run
    try:
        return run(args)
    except ConfigError as error:
        return failed(error, USAGE)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
