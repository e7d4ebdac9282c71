"""Who learns from which part of a text."""

from __future__ import annotations

from dataclasses import dataclass

from raydarts.data.settings import DataSettings
from raydarts.data.text import TextTokens, Tokens
from raydarts.errors import DataError


@dataclass(frozen=True)
class TextSplits:
    """Contiguous ranges of tokens, int64 `(n,)` each.

    `search` is what a retraining learns from: the used part of the training text. `weight` and `alpha` are what the two
    levels of a search learn from. `validation` ranks. `test` is measured once, at the end.
    """

    source: TextTokens
    search: Tokens
    weight: Tokens
    alpha: Tokens

    @property
    def validation(self) -> Tokens:
        return self.source.validation

    @property
    def test(self) -> Tokens:
        return self.source.test


def split_text(source: TextTokens, settings: DataSettings) -> TextSplits:
    """Splits the first `limit` training tokens. Alpha gets the last `alpha_fraction` of them, or the validation text.

    In the authors' code (rnn/train_search.py) alpha always learns from the validation text (`search_data`), which also
    scores the search. That is `alpha_from: validation`. Raises `DataError` if a part has fewer than two tokens.
    """
    train = source.train[: settings.limit]
    if settings.alpha_from == "validation":
        weight, alpha = train, source.validation
    else:
        cut = len(train) - round((settings.alpha_fraction or 0) * len(train))
        weight, alpha = train[:cut], train[cut:]
    for name, part in (("weight", weight), ("alpha", alpha)):
        if len(part) < 2:
            raise DataError(
                f"{source.name}: the {name} part of the split has {len(part)} of {len(train)} training tokens; change "
                "data.limit or data.alpha_fraction"
            )
    return TextSplits(source, train, weight, alpha)
