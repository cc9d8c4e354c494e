"""The command `livewarden policy sign`."""

from __future__ import annotations

from pathlib import Path

import click

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_FILE, metavar="POLICY")
@click.option(
    "--key", type=_FILE, required=True, help="EC private key (PEM: P-256, P-384 or P-521)."
)
@click.option(
    "--password",
    envvar="LIVEWARDEN_KEY_PASSWORD",
    show_envvar=True,
    help="Password of the key; better given in the environment.",
)
def sign(file: Path, key: Path, password: str | None) -> None:
    """Sign a POLICY and every file that it names, for servers that run with --policy-key.

    The signature lies beside the policy, and both are deployed together. Format: OpenSSF model
    signing, as for bundles.

    \b
    Example:
      openssl ecparam -name prime256v1 -genkey -noout -out policy.key
      openssl ec -in policy.key -pubout -out policy.pub
      livewarden policy sign policies/default.yaml --key policy.key
      livewarden serve --policy policies/default.yaml --policy-key policy.pub
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    # Here and not above, so that --help answers at once.
    from livewarden_ensemble.errors import PolicyInvalid
    from livewarden_ensemble.policy import load_policy
    from livewarden_ensemble.signature import sign_policy

    try:
        path = sign_policy(load_policy(file), key, password)
    except PolicyInvalid as error:
        raise click.ClickException(str(error)) from None
    click.echo(str(path))
