"""Every kind of bad spec: the right line, and a message that says what is wrong and what to do."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from raydarts.config.loader import load_spec
from raydarts.errors import Problem, SpecError


def problems_of(path: Path, *sets: str) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        load_spec(path, sets)
    return caught.value.problems


# name: (the spec, the line, the dotted path, what the message must hold)
BAD: dict[str, tuple[str, int, str, list[str]]] = {
    "typo at top level": ("data: {}\nserch:\n  epochs: 2\n", 2, "serch", ["unknown key", "did you mean 'search'"]),
    "typo in search": (
        "search:\n  seed: 0\n  epoch: 2\n",
        3,
        "search.epoch",
        ["unknown key 'epoch'", "did you mean 'epochs'", "batch_size"],
    ),
    "typo in a component": (
        "search:\n  space:\n    name: darts-cnn\n    layer: 3\n",
        4,
        "search.space.layer",
        ["unknown key 'layer'", "did you mean 'layers'"],
    ),
    "text for a number": ("search:\n  epochs: many\n", 2, "search.epochs", ["a whole number", "'many'"]),
    "true for a whole number": ("search:\n\n  batch_size: true\n", 3, "search.batch_size", ["whole number", "true"]),
    "quoted whole number": ('search:\n  seed: "3"\n', 2, "search.seed", ["a whole number", "'3'"]),
    "fraction for a whole number": ("search:\n  epochs: 2.5\n", 2, "search.epochs", ["a whole number", "2.5"]),
    "quoted number": ('search:\n  lr: "0.1"\n', 2, "search.lr", ["a number", "'0.1'"]),
    "not a number": ("search:\n  lr: .nan\n", 2, "search.lr", ["number"]),
    "zero epochs": ("search:\n  epochs: 0\n", 2, "search.epochs", ["at least 1", "got 0"]),
    "negative epsilon": (
        "search:\n  estimator:\n    name: finite_difference\n    epsilon: -0.1\n",
        4,
        "search.estimator.epsilon",
        ["greater than 0", "got -0.1"],
    ),
    "text for xi": (
        "search:\n  estimator:\n    name: finite_difference\n    xi: fast\n",
        4,
        "search.estimator.xi",
        ["'lr' or a number", "'fast'"],
    ),
    "xi under first order": (
        "search:\n  estimator:\n    name: first_order\n    xi: 0.1\n",
        4,
        "search.estimator.xi",
        ["'xi' does not exist under first_order", "exact_hvp", "finite_difference"],
    ),
    "unknown estimator": (
        "search:\n  estimator: finite_diference\n",
        2,
        "search.estimator",
        ["unknown estimator 'finite_diference'", "did you mean 'finite_difference'", "first_order"],
    ),
    "unknown data set": (
        "data:\n  dataset: digitz\n",
        2,
        "data.dataset",
        ["unknown dataset 'digitz'", "did you mean 'digits'"],
    ),
    "missing npz file": (
        "data:\n  dataset:\n    name: npz\n    file: nowhere.npz\n",
        2,
        "data.dataset",
        ["nowhere.npz"],
    ),
    "npz without a file": ("data:\n  dataset: npz\n", 2, "data.dataset.file", ["is missing", "no default"]),
    "section is a list": ("name: a\nsearch: [1]\n", 2, "search", ["must be a mapping"]),
    "name is no name": ("search: {}\nname: a b/c\n", 2, "name", ["'a b/c' is no name"]),
    "name is a number": ("search: {}\nname: 12\n", 2, "name", ["must be a text", "12", "quote"]),
    "unreadable yaml": ("search:\n  seed: [1, 2\n  epochs: 3\n", 3, "", ["not readable as YAML"]),
    "duplicate key": ("search:\n  seed: 0\n  seed: 1\n", 3, "", ["duplicate key", "seed", "remove one"]),
    "a list": ("- search\n", 1, "", ["a spec is a mapping"]),
    "a key that is no text": ("search:\n  1: 2\n", 2, "search", ["1", "is not a text", "quote"]),
    "distribution outside search": (
        "search: {}\nsweep:\n  seed:\n    grid: [0, 1]\n",
        3,
        "sweep.seed",
        ["(grid) can only stand under search"],
    ),
    "unknown distribution": (
        "search:\n  seed: 0\n  lr:\n    unifrm: [0, 1]\n",
        4,
        "search.lr",
        ["unknown distribution 'unifrm'", "did you mean 'uniform'", "loguniform"],
    ),
    "distribution beside a key": (
        "search:\n  lr: {uniform: [0.1, 1], low: 2}\n",
        2,
        "search.lr",
        ["stands alone", "'uniform'", "low"],
    ),
    "empty choice": ("search:\n  lr:\n    choice: []\n", 3, "search.lr", ["choice needs a list", "at least one"]),
    "low above high": ("search:\n  lr: {uniform: [1, 0.5]}\n", 2, "search.lr", ["low must be below high", "1 and 0.5"]),
    "low equals high": ("search:\n  lr: {uniform: [1, 1]}\n", 2, "search.lr", ["low must be below high"]),
    "three ends": ("search:\n  lr: {uniform: [1, 2, 3]}\n", 2, "search.lr", ["[low, high]", "[1, 2, 3]"]),
    "loguniform from 0": ("search:\n  lr: {loguniform: [0, 1]}\n", 2, "search.lr", ["low must be above 0", "got 0"]),
    "quniform with q 0": ("search:\n  lr: {quniform: [1, 2, 0]}\n", 2, "search.lr", ["q must be above 0"]),
    "randint with fractions": (
        "search:\n  epochs: {randint: [1, 2.5]}\n",
        2,
        "search.epochs",
        ["both ends must be whole numbers", "2.5"],
    ),
    "continuous under grid": (
        "search:\n  lr: {uniform: [0.1, 0.5]}\nsweep:\n  searcher: grid\n",
        2,
        "search.lr",
        ["grid cannot enumerate uniform", "random or optuna"],
    ),
    "end of a range not allowed": (
        "search:\n  seed: 0\n  lr: {uniform: [-0.5, 0.5]}\nsweep: {searcher: random}\n",
        3,
        "search.lr",
        ["greater than 0", "-0.5"],
    ),
    "unknown objective": (
        "sweep:\n  objective: validation_acuracy\n",
        2,
        "sweep.objective",
        ["unknown objective 'validation_acuracy'", "did you mean 'validation_accuracy'"],
    ),
    "unknown column": (
        "sweep:\n  objective: {name: column, column: validation_acuracy, direction: max}\n",
        2,
        "sweep.objective",
        ["'validation_acuracy', which is not reported", "did you mean 'validation_accuracy'"],
    ),
    "objective of held-out images, none held out": (
        "data: {validation_fraction: 0}\nsweep:\n  objective: healthy_accuracy\n",
        3,
        "sweep.objective",
        ["nothing is held out", "alpha_accuracy"],
    ),
    "evaluate without held-out images": (
        "data:\n  validation_fraction: 0\nsweep: {objective: alpha_accuracy}\nevaluate:\n  top_k: 1\n",
        2,
        "data.validation_fraction",
        ["evaluate ranks by held-out images"],
    ),
    "the same remedy twice": (
        "search:\n  regularizers:\n    - beta_decay\n    - name: beta_decay\n      strength: 1\n",
        4,
        "search.regularizers.1",
        ["beta_decay stands twice", "at most once"],
    ),
    "bad setting deep inside a choice": (
        "search:\n  estimator:\n    choice:\n      - first_order\n      - name: finite_difference\n"
        "        xi:\n          grid:\n            - 0.1\n            - fast\n",
        9,
        "search.estimator.xi",
        ["'lr' or a number", "'fast'"],
    ),
    "unknown key deep inside a choice": (
        "search:\n  regularizers:\n    choice:\n      - []\n      - - drop_path\n        - name: beta_decay\n"
        "          strenght: 1\n",
        7,
        "search.regularizers.1.strenght",
        ["unknown key 'strenght'", "did you mean 'strength'"],
    ),
    "unknown name deep inside a choice": (
        "search:\n  estimator:\n    choice:\n      - first_order\n      - secnd_order\n",
        5,
        "search.estimator",
        ["unknown estimator 'secnd_order'"],
    ),
    "no mapping among the options of a section": (
        "search:\n  choice:\n    - {seed: 1}\n    - 3\n",
        4,
        "search",
        ["must be a mapping"],
    ),
    "a section that is a number left open": ("search:\n  uniform: [0, 1]\n", 1, "search", ["must be a mapping"]),
    "column that not all configurations report": (
        "search:\n  probes: {choice: [[entropy], []]}\n"
        "sweep:\n  objective: {name: column, column: entropy_normal, direction: min}\n",
        4,
        "sweep.objective",
        ["'entropy_normal', which is not reported"],
    ),
    "unknown distribution outside search": (
        "data:\n  validation_fraction:\n    unifrom: [0, 1]\n",
        3,
        "data.validation_fraction",
        ["did you mean 'uniform'"],
    ),
    "an alias that holds itself": ("search: &a\n  lr: *a\n", 2, "search.lr", ["must be a number"]),
    "the same evaluation seed twice": (
        "evaluate:\n  top_k: 1\n  seeds: [0, 0]\n",
        3,
        "evaluate.seeds",
        ["seeds must be distinct"],
    ),
    "no evaluation seed": ("evaluate:\n  seeds: []\n", 2, "evaluate.seeds", ["at least one evaluation seed"]),
    "one GPU and a half": (
        "sweep:\n  resources:\n    gpus: 1.5\n",
        3,
        "sweep.resources.gpus",
        ["only whole GPUs", "fraction up to 1"],
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_spec_is_refused_at_its_line(kind: str, tmp_path: Path) -> None:
    text, line, dotted, words = BAD[kind]
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    found = problems_of(path)
    assert [(problem.file, problem.line, problem.path) for problem in found] == [(str(path), line, dotted)]
    for word in words:
        assert word in found[0].message


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_text(""), "is empty"),
        (lambda path: path.write_text("# only a comment\n"), "is empty"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00\x81"), "is not a text file"),
    ],
    ids=["missing", "folder", "empty", "comment", "binary"],
)
def test_files_that_are_no_spec_are_refused(make, words: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    make(path)
    (problem,) = problems_of(path)
    assert (problem.file, problem.line) == (str(path), 0)
    assert words in problem.message


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("search.epochs", "must be path.to.key=value"),
        ("=3", "must be path.to.key=value"),
        ("search..epochs=3", "must be path.to.key=value"),
        ("search.epochs=[1", "not readable as YAML"),
        ("search.regularizers.4=drop_path", "a list of 1 items has no item '4' (allowed: 0 to 0)"),
        ("search.regularizers.first=drop_path", "has no item 'first'"),
        ("search.epoch=3", "unknown key 'epoch'; did you mean 'epochs'"),
        ("search.epochs=many", "must be a whole number, got 'many'"),
        ("serch.epochs=1", "did you mean 'search'"),
        ("search.estimator.xi=fast", "must be 'lr' or a number, got 'fast'"),
        ("sweep.seed={grid: [0, 1]}", "can only stand under search"),
    ],
)
def test_a_bad_set_is_named(assignment: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("search:\n  regularizers: [beta_decay]\n  estimator: finite_difference\n")
    (problem,) = problems_of(path, assignment)
    assert problem.file == f"--set '{assignment}'"
    assert words in problem.message


def test_all_problems_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        "nam: x\n"
        "search:\n"
        "  epochs: 0\n"
        "  space:\n"
        "    name: darts-cnn\n"
        "    layer: 3\n"
        "  lr: -1\n"
        "evaluate:\n"
        "  seeds: [0, 0]\n"
        "data:\n"
        "  dataset: digitz\n"
    )
    found = problems_of(path)
    assert [(problem.line, problem.path) for problem in found] == [
        (1, "nam"),
        (3, "search.epochs"),
        (6, "search.space.layer"),
        (7, "search.lr"),
        (9, "evaluate.seeds"),
        (11, "data.dataset"),
    ]


def test_the_error_prints_a_place_for_each_problem_and_survives_pickling(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("search:\n  epochs: 0\n  lr: -1\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [[f"{path}:2", "search.epochs"], [f"{path}:3", "search.lr"]]
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems


def test_problem_of_many_configurations_is_reported_once(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("search:\n  seed: {grid: [0, 1, 2]}\n  lr: -1\n")
    assert len(problems_of(path)) == 1


def test_a_broken_distribution_hides_no_problem_of_another_key(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("search:\n  lr: {uniform: [1, 0]}\n  lr_min: -1\n")
    assert [(problem.line, problem.path) for problem in problems_of(path)] == [(2, "search.lr"), (3, "search.lr_min")]


def test_all_malformed_sets_at_once(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("search: {}\n")
    found = problems_of(path, "a", "search.lr=0.1", "b.c=[")
    assert [problem.file for problem in found] == ["--set 'a'", "--set 'b.c=['"]


def test_a_setting_put_beside_a_choice_is_blamed_on_the_set(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("search:\n  estimator: {choice: [first_order, exact_hvp]}\n")
    (problem,) = problems_of(path, "search.estimator.xi=0.1")
    assert problem.file == "--set 'search.estimator.xi=0.1'"
    assert "stands alone" in problem.message


def test_multiplying_aliases_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    path.write_text("\n".join(["a0: &a0 [1]", *levels]))
    (problem,) = problems_of(path)
    assert "aliases multiply" in problem.message


def test_many_combinations_are_sampled_and_a_clash_of_two_options_is_found(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    open_keys = ("lr", "lr_min", "momentum", "weight_decay", "arch_lr", "arch_weight_decay", "alpha_init")
    ranges = "".join(f"  {key}: {{grid: [0.1, 0.2, 0.3]}}\n" for key in open_keys)
    remedies = "".join(
        "    - {choice: [beta_decay, weight_l2]}\n".replace("weight_l2", other) for other in ("drop_path", "weight_l2")
    )
    path.write_text(f"search:\n{ranges}  regularizers:\n{remedies}")
    assert any("beta_decay stands twice" in problem.message for problem in problems_of(path))
