"""A search space in the form of ConfigSpace, AutoML.org's library, which SMAC and others read; and the way back.

Each distribution becomes a hyperparameter of the same name. What hangs under an option becomes one that is active only
with that option. Options are called by their labels, as in reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raydarts.config.checks import check_draw
from raydarts.config.distributions import Dimension, Draw, Tree
from raydarts.config.located import located
from raydarts.config.open_numbers import LogUniform, Normal, Number, QLogUniform, QUniform, RandInt, Uniform
from raydarts.config.open_values import Choice, Distribution, Grid, OptionalItem, Options
from raydarts.errors import InputError, Problem, SpecError

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace
    from ConfigSpace.hyperparameters import Hyperparameter

MOST_STEPS = 10_000
"""Steps of a `quniform`, each of which is written down."""

Form = Callable[[Any, str, Any, dict[str, Any]], "Hyperparameter"]
"""Makes a hyperparameter: with ConfigSpace, of this name, for this distribution, with `meta` beside it."""


def _options(library: Any, name: str, given: Options, meta: dict[str, Any]) -> Hyperparameter:
    weights = list(given.weights) if isinstance(given, Choice) and given.weights else None
    return library.CategoricalHyperparameter(name, list(given.labels), weights=weights, meta=meta)


def _uniform(library: Any, name: str, given: Number, meta: dict[str, Any]) -> Hyperparameter:
    return library.UniformFloatHyperparameter(name, given.low, given.high, meta=meta)


def _loguniform(library: Any, name: str, given: Number, meta: dict[str, Any]) -> Hyperparameter:
    return library.UniformFloatHyperparameter(name, given.low, given.high, log=True, meta=meta)


def _normal(library: Any, name: str, given: Normal, meta: dict[str, Any]) -> Hyperparameter:
    return library.NormalFloatHyperparameter(
        name, mu=given.mean, sigma=given.sd, lower=given.low, upper=given.high, meta=meta
    )


def _quniform(library: Any, name: str, given: Number, meta: dict[str, Any]) -> Hyperparameter:
    """ConfigSpace has no steps between two numbers, but values in an order."""
    if (count := given.count()) > MOST_STEPS:
        raise ValueError(
            f"it has no steps, so each value is written down, and these are {count:,}; at most {MOST_STEPS:,}"
        )
    return library.OrdinalHyperparameter(name, given.values(), meta=meta)


def _qloguniform(library: Any, name: str, given: QLogUniform, meta: dict[str, Any]) -> Hyperparameter:
    """Values in an order are drawn equally often, which these are not. Whole numbers may have a logarithm."""
    if given.q != 1:
        raise ValueError("it has no steps in a logarithm but whole numbers; write q: 1, or loguniform")
    return library.UniformIntegerHyperparameter(name, int(given.low), int(given.high), log=True, meta=meta)


def _randint(library: Any, name: str, given: Number, meta: dict[str, Any]) -> Hyperparameter:
    return library.UniformIntegerHyperparameter(name, int(given.low), int(given.high), meta=meta)


FORMS: dict[str, Form] = {
    Choice.KIND: _options,
    Grid.KIND: _options,
    OptionalItem.KIND: _options,
    Uniform.KIND: _uniform,
    LogUniform.KIND: _loguniform,
    Normal.KIND: _normal,
    QUniform.KIND: _quniform,
    QLogUniform.KIND: _qloguniform,
    RandInt.KIND: _randint,
}
"""How each kind of distribution is said. A tied value is none: `point` has it from the place it is tied to."""


def as_configspace(tree: Tree, name: str) -> ConfigurationSpace:
    """Returns a search space as ConfigSpace's. Raises `InputError` where that cannot hold it, or is not installed."""
    library = _library()
    dimensions = tree.distributions()
    if not dimensions:
        raise InputError(f"{name}: nothing is open under search, so there is no search space")
    space: ConfigurationSpace = library.ConfigurationSpace(name=name)
    made: dict[str, Hyperparameter] = {}
    for dimension in dimensions:
        made[dimension.name] = _form(library, dimension)
        space.add(made[dimension.name])
        if dimension.forced:
            # The option that it hangs under. That one hangs under those before it.
            above, option = list(dimension.forced.items())[-1]
            choice = next(each.distribution for each in dimensions if each.name == above)
            label = choice.labels[option] if isinstance(choice, Options) else None
            space.add(library.EqualsCondition(made[dimension.name], made[above], label))
    return space


def _form(library: Any, dimension: Dimension) -> Hyperparameter:
    given = dimension.distribution
    try:
        return FORMS[given.KIND](library, dimension.name, given, {"kind": given.KIND})
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{dimension.name}: ConfigSpace cannot hold {given}: {error}") from error


def write_configspace(tree: Tree, name: str, file: Path) -> ConfigurationSpace:
    """Writes a search space as ConfigSpace's JSON, which `ConfigurationSpace.from_json` reads. Returns it."""
    if file.suffix.lower() != ".json":
        raise InputError(f"{file}: the file's name must end in .json")
    space = as_configspace(tree, name)
    try:
        space.to_json(file, indent=2)
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror or error}") from error
    return space


def _library() -> Any:
    try:
        import ConfigSpace  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise InputError(
            f"a search space for ConfigSpace needs that library ({error}): pip install 'raydarts[configspace]'"
        ) from error
    return ConfigSpace


def point(tree: Tree, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `sweep.points` takes for a configuration of the exported space.

    Raises `InputError` or `SpecError` where it is none that the spec allows.
    """
    given = _Given(values)
    draw = tree.materialise(given)
    if unused := [name for name in values if name not in given.used]:
        raise InputError(f"{', '.join(unused)}: no such setting is open where the others are as given")
    problems: list[Problem] = []
    settings = check_draw(draw, problems)
    if settings is None or problems:
        raise SpecError(problems)
    whole = settings.model_dump(mode="json")
    checked = located(tree, whole)
    if isinstance(checked, list):
        raise InputError("\n".join(f"{'.'.join(map(str, (tree.name, *each.path)))} {each.message}" for each in checked))
    # Without its defaults it is shorter, but it may fit two options of which one says more.
    return draw.plain if isinstance(located(tree, draw.plain), Draw) else whole


class _Given:
    """A chooser that chooses the values of a configuration, by the names of the distributions."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.used: set[str] = set()

    def choose(self, name: str, distribution: Distribution) -> int | float:
        if name not in self._values:
            raise InputError(f"{name}: the configuration has no value for it, and the others leave it open")
        self.used.add(name)
        value = self._values[name]
        if isinstance(distribution, Options):
            if str(value) not in distribution.labels:
                raise InputError(f"{name}: {value} is none of its options: {', '.join(distribution.labels)}")
            return distribution.labels.index(str(value))
        try:
            return int(value) if isinstance(value, Integral) else float(value)
        except (TypeError, ValueError):
            raise InputError(f"{name}: {value} is no number") from None
