"""A trial's swept settings in few words: `xi 0.1, beta_decay.strength 0.5`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from raydarts.json_types import section

_LONGEST = 60
"""Characters of one value."""
_NAMED_ITEM = re.compile(r"\.\d+(?:\[[^\[\]]*\])*\[([^\[\]]*)\]\.([^\[\].]+)$")
"""A setting of an item of a list that says what the item is: `.0[beta_decay].strength`."""


def label(name: str, config: Mapping[str, object]) -> str:
    """A choice's name as people say it. Of an item of a list the item's own name, which `config` says: a remedy's
    `search.regularizers.0.strength` is `beta_decay.strength`.
    """
    if named := _NAMED_ITEM.search(name):
        return f"{named[1]}.{named[2]}"
    parts = re.sub(r"\[[^\[\]]*\]", "", name).split(".")
    parts = parts[1:] if len(parts) > 1 and parts[0] == "search" else parts
    last, at = parts[-1], parts[:-1]
    if last.isdigit() or not (at and at[-1].isdigit()):
        return ".".join(parts) if last.isdigit() else last
    item: object = config
    for part in at:
        if isinstance(item, Sequence) and not isinstance(item, str) and part.isdigit() and int(part) < len(item):
            item = item[int(part)]
        elif isinstance(item, Mapping):
            item = item.get(part)
        else:
            item = None
    member = item if isinstance(item, str) else section(item).get("name")
    return f"{member}.{last}" if isinstance(member, str) else ".".join(parts)


def labelled(choices: Mapping[str, object], config: Mapping[str, object]) -> dict[str, object]:
    """The choices by their labels. Two that have one label keep their whole names."""
    labels = {name: label(name, config) for name in choices}
    several = {each for each in labels.values() if list(labels.values()).count(each) > 1}
    return {name if labels[name] in several else labels[name]: value for name, value in choices.items()}


def value_in_words(value: object) -> str:
    """A value, short: numbers with four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def settings_in_words(description: Mapping[str, object]) -> str:
    """What a trial.json says that it varies, numbers first; of a retraining its genotype and its seed."""
    if description.get("genotype_id"):
        return f"genotype {description['genotype_id']}, seed {description.get('seed')}"
    settings = labelled(section(description.get("choices")), section(description.get("config")))
    return in_words(dict(sorted(settings.items(), key=lambda pair: isinstance(pair[1], str))))


def in_words(settings: Mapping[str, object]) -> str:
    """Settings by their labels, in one line."""
    return ", ".join(f"{name} {value_in_words(value)}" for name, value in settings.items())
