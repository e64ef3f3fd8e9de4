"""What a page tells of a race (:mod:`studies.comparisons.races`), from its record."""

from __future__ import annotations

from collections.abc import Iterator

from pixelvae.experiments.report import NATS, with_error
from studies.publishing.records import Record, table, text


def race(record: Record, digits: int) -> Iterator[str]:
    """A section without its heading. ``digits`` of the bounds are printed after the point."""
    yield text(
        f"""
        The preset `{record["preset"]}`, with the options at the end of the command, as it is and with other settings,
        each for {record["minutes"]} minutes of processor time; judged by the validation set alone. A start, not an
        end: what is ahead here need not stay so.
        """
    )
    yield ""
    yield "```sh"
    yield record["command"]
    yield "```"
    yield ""
    rows = [
        [r["name"] if r["name"] == "as it is" else f"`{r['name']}`", str(r["seed"]),
         f"{r['processor_seconds_a_step']:.3f} s", f"{r['iterations']:,}", with_error(r["valid"]["bound"], digits),
         kls(r["valid"])]
        for r in sorted(record["runs"], key=lambda r: r["valid"]["bound"]["mean"])
    ]  # fmt: skip
    unit = record["runs"][0]["valid"]["unit"]
    yield from table(
        ["settings", "seed", "a step", "iterations", f"validation, {unit}", "KL, nats"], rows
    )


def kls(numbers: Record) -> str:
    """The KL in nats, by level where there are two; nothing for a model without latent."""
    nats = numbers.get(NATS, numbers)
    names = [n for n in ("kl1", "kl2") if n in nats] or [n for n in ("kl",) if n in nats]
    return " + ".join(f"{nats[name]['mean']:.1f}" for name in names)
