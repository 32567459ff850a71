"""``clipnotes doctor``: what is installed, what is missing, and what to type next."""

from __future__ import annotations

import typer


def doctor() -> None:
    """Look at the installation; say what is missing and the command that fixes it."""
    from clipnotes.doctor import examine

    findings = examine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        mark = "!!" if finding.problem else "ok"
        text = ": ".join(part for part in (finding.found, finding.problem) if part)
        typer.echo(f"{mark}  {finding.what:{width}}  {text}")
        if finding.mend:
            typer.echo(f"    {'':{width}}  -> {finding.mend}")
    if any(finding.problem for finding in findings):
        raise typer.Exit(1)
