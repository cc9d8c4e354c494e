"""The command `livewarden policy dsa`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from livewarden_client.wire import ACTIONS, LABELS
from livewarden_ensemble.dsa_table import (
    EEA,
    EU,
    MONETARY_TERMS,
    OTHER_VISIBILITIES,
    SOURCE_TYPES,
    VISIBILITY_TERMS,
)

if TYPE_CHECKING:
    from datetime import date

    from livewarden_client.wire import Action
    from livewarden_ensemble.dsa_table import Source

_DATE = click.DateTime(["%Y-%m-%d"])
_AREAS = {"EU": EU, "EEA": EEA}


class _Refused(click.ClickException):
    """A verdict or an option that makes no statement: the caller must change it."""

    exit_code = 2


@click.command()
@click.argument("verdict", type=click.File("rb"))
@click.option(
    "--territory",
    multiple=True,
    metavar="CODE",
    help="EEA country where it is restricted, or EU or EEA; repeat for several.",
)
@click.option("--language", metavar="CODE", help="Language of the content, such as DE.")
@click.option("--ground", metavar="TEXT", help="Section of the terms and conditions relied on.")
@click.option("--law", metavar="TEXT", help="Legal ground, where the content is illegal.")
@click.option("--url", help="Where the terms or the law can be read.")
@click.option(
    "--decided",
    type=click.Choice(ACTIONS[2:]),
    help="What a person decided after review; without it the decision is fully automated.",
)
@click.option("--label", type=click.Choice(LABELS), help="What a person found, if another label.")
@click.option(
    "--visibility",
    multiple=True,
    type=click.Choice((*VISIBILITY_TERMS, *OTHER_VISIBILITIES, *MONETARY_TERMS)),
    help="How it is restricted, if otherwise than the verdict says; repeat for several.",
)
@click.option(
    "--source",
    type=click.Choice(tuple(SOURCE_TYPES)),
    default="voluntary",
    show_default=True,
    help="What led to the look at the content.",
)
@click.option("--content-date", type=_DATE, help="Day of the content; --date if left out.")
@click.option("--date", "applied", type=_DATE, help="Day of the decision; today (UTC) if left out.")
@click.option("--until", type=_DATE, help="Day on which the restriction ends; never if left out.")
@click.option(
    "--keys",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="LIVEWARDEN_AUDIT_KEYS_FILE",
    show_envvar=True,
    help="Keys of the audit log: the puid is then the record's `request`.",
)
def dsa(
    *,
    verdict: BinaryIO,
    territory: tuple[str, ...],
    language: str | None,
    ground: str | None,
    law: str | None,
    url: str | None,
    decided: Action | None,
    label: str | None,
    visibility: tuple[str, ...],
    source: Source,
    content_date: datetime | None,
    applied: datetime | None,
    until: datetime | None,
    keys: Path | None,
) -> None:
    """Write the statement of reasons for a VERDICT, as the EU's database takes it (API v2).

    VERDICT is a file with a verdict's JSON, or - for standard input. The statement holds nothing
    that a caller wrote. Exit code 2 where none is due, or something it needs is missing.

    \b
    Example:
      livewarden policy dsa verdict.json --territory EU --language DE
      livewarden moderate --frames a.jpg --json | livewarden policy dsa - --territory DE
      livewarden policy dsa verdict.json --decided restrict --visibility age_restrict
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    # Here and not above, so that --help answers at once.
    from livewarden_client.errors import ServerError
    from livewarden_client.verdict_json import decode_verdict
    from livewarden_ensemble.audit_key import load_keys
    from livewarden_ensemble.dsa import (
        Circumstances,
        name_statement,
        write_statement,
    )
    from livewarden_ensemble.errors import AuditInvalid, StatementRefused

    day = applied.date() if applied else datetime.now(UTC).date()
    try:
        read = decode_verdict(verdict.read())
        content_key = load_keys(keys).current.content if keys else None
        statement = write_statement(
            read,
            name_statement(read.request_id, content_key),
            Circumstances(
                applied=day,
                posted=_to_date(content_date) or day,
                until=_to_date(until),
                territory=tuple(
                    code for name in territory for code in _AREAS.get(name.upper(), (name.upper(),))
                ),
                language=language.upper() if language else None,
                ground=ground,
                law=law,
                url=url,
                decided=decided,
                label=label,
                visibility=visibility,
                source=source,
            ),
        )
    except (ServerError, AuditInvalid, StatementRefused) as error:
        raise _Refused(f"{verdict.name}: {error}") from None
    click.echo(json.dumps(statement, indent=2, ensure_ascii=False))


def _to_date(moment: datetime | None) -> date | None:
    return moment.date() if moment else None
