"""Published checklists for evaluations of architecture search, answered from the files of a run.

An answer is `yes` or `no` only if a file shows it. Everything else is `not known`, whatever is likely. The questions
are in our words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from raydarts.json_types import items, number, section
from raydarts.report.certificate.facts import Facts
from raydarts.report.swept import swept
from raydarts.report.wording import listed
from raydarts.study.random_cells import is_random
from raydarts.study.results import TrialRecord
from raydarts.study.stages import EVALUATE, data_of

YES, NO, UNKNOWN = "yes", "no", "not known"
_NAMED = 8


class Answer(NamedTuple):
    answer: str
    fact: str


class Seen:
    """What the questions ask of a run, each once."""

    def __init__(self, facts: Facts, body: Mapping[str, object]) -> None:
        self.facts, self.body = facts, body
        self.spec = section(facts.description.get("spec"))
        self.cost = section(body["cost"])
        self.completed = [record for record in facts.searched if record.status == "completed"]
        self.stages = {
            name: [record for record in records if record.status == "completed"]
            for name, records in facts.retrained.items()
        }
        self.settings = [
            setting.name for setting in swept(section(record.description.get("choices")) for record in self.completed)
        ]
        self.improvement = [section(each) for each in items(body["improvement"])]

    @property
    def evaluated(self) -> list[TrialRecord]:
        return self.stages.get(EVALUATE, [])

    def training(self, stage: str) -> str:
        """A stage's training and table as a text, so that two can be compared."""
        settings = next((each.settings for each in self.facts.stages if each.name == stage), {})
        return repr((settings.get("training"), settings.get("table")))

    def seeds(self) -> dict[str, set[object]]:
        """The evaluation seeds of each genotype in `evaluate`."""
        known: dict[str, set[object]] = {}
        for record in self.evaluated:
            known.setdefault(str(record.description.get("genotype_id")), set()).add(record.description.get("seed"))
        return known


def _code(seen: Seen) -> Answer:
    outside = items(seen.facts.description.get("outside"))
    version = section(seen.facts.description.get("versions")).get("raydarts")
    commit = seen.facts.description.get("git_commit")
    if outside:
        return Answer(NO, f"the run names code of its user's own and does not hold it: {_named(outside)}")
    code = f"raydarts {version or 'of an unknown version'}, git commit {commit or 'unknown'}"
    return Answer(UNKNOWN, f"all code is {code}; the files do not show whether that is published")


def _not_of_a_run(seen: Seen) -> Answer:
    return Answer(UNKNOWN, "this is about when code is published, and no file of a run shows it")


def _same_benchmark(seen: Seen) -> Answer:
    if len(seen.completed) < 2:
        return Answer(
            NO, f"{_count(len(seen.completed), 'completed search', 'completed searches')}: nothing is compared"
        )
    differing = [name for name in seen.settings if name.startswith("search.space")]
    what = "all searches have the same data and the same split"
    if differing:
        return Answer(NO, f"{what}, and they differ in the search space: {_named(differing)}")
    return Answer(YES, f"{what}, and the same search space and code")


def _ablation(seen: Seen) -> Answer:
    if not seen.settings:
        return Answer(NO, "no setting differs between completed searches")
    differ = f"completed searches differ in {_named(seen.settings)}"
    searcher = section(section(seen.spec.get("sweep")).get("searcher")).get("name")
    if len(seen.settings) > 1 and searcher != "grid":
        return Answer(UNKNOWN, f"{differ}, several at once (searcher {searcher}): none was left out alone")
    return Answer(YES, f"{differ} and in the search seed; all other settings are equal")


def _same_protocol(seen: Seen) -> Answer:
    seeds = seen.seeds()
    if len(seeds) < 2:
        return Answer(NO, f"{_count(len(seeds), 'genotype was', 'genotypes were')} retrained in {EVALUATE}")
    missing = [name for name, known in seeds.items() if known != set.union(*seeds.values())]
    if missing:
        return Answer(NO, f"one training for all, and these have not all evaluation seeds: {_named(missing)}")
    each = len(next(iter(seeds.values())))
    many = _count(each, "evaluation seed", "evaluation seeds")
    return Answer(YES, f"{len(seeds)} genotypes were retrained with one training and the same {many}")


def _over_time(seen: Seen) -> Answer:
    if not seen.completed:
        return Answer(NO, "no search is completed")
    if any("has no time of" in str(problem) for problem in items(seen.body["damaged"])):
        return Answer(NO, "times of some epochs are missing")
    return Answer(YES, "figure and time of each epoch are in metrics.jsonl and times.jsonl of each trial")


def _random(seen: Seen) -> Answer:
    cells = {record.description.get("genotype_id") for record in seen.evaluated if is_random(record.description)}
    if not cells:
        return Answer(NO, "no random cell was retrained (evaluate.random_cells)")
    return Answer(YES, f"{_count(len(cells), 'random healthy cell', 'random healthy cells')} with the same training")


def _runs(seen: Seen) -> Answer:
    searched = {record.search_seed for record in seen.completed} - {None}
    evaluated = {record.description.get("seed") for record in seen.evaluated}
    fact = _count(len(searched), "search seed", "search seeds")
    fact += f" and {_count(len(evaluated), 'evaluation seed', 'evaluation seeds')}, all listed under seeds"
    return Answer(YES if len(searched) > 1 and len(evaluated) > 1 else NO, fact)


def _tabular(seen: Seen) -> Answer:
    tables = [stage.name for stage in seen.facts.stages if stage.settings.get("table") is not None]
    if any(seen.stages.get(name) for name in tables):
        return Answer(YES, f"{_named(tables)}: accuracies were looked up in a table")
    return Answer(NO, "no stage looks accuracies up in a table")


def _confounding(seen: Seen) -> Answer:
    hosts, drivers = items(seen.cost["hosts"]), section(seen.facts.run.read("drivers.json"))
    if len(drivers) > 1:
        return Answer(UNKNOWN, f"{len(drivers)} drivers were at work; versions of the later ones are not recorded")
    if not hosts:
        return Answer(UNKNOWN, "the hosts of the trials are not recorded")
    if len(hosts) > 1:
        return Answer(UNKNOWN, f"{len(hosts)} hosts were at work, and their hardware is not recorded")
    return Answer(YES, "all trials ran on one host, with the versions under run")


def _tuning(seen: Seen) -> Answer:
    if not seen.facts.searched:
        return Answer(NO, "there is no search in this run, so how its genotypes were found is not in it")
    searcher = section(section(seen.spec.get("sweep")).get("searcher")).get("name") or "one configuration"
    trials, hours = len(seen.facts.searched), _hours(seen, "search")
    return Answer(YES, f"{searcher}: {_count(trials, 'search', 'searches')}, failed and stopped ones too, {hours}")


def _whole_time(seen: Seen) -> Answer:
    if not seen.facts.searched:
        return Answer(NO, "the searches are not in this run")
    if items(seen.body["damaged"]):
        return Answer(NO, "parts of the run are damaged, so hours may be missing")
    hours, wall = (number(seen.cost[key]) or 0.0 for key in ("process_hours", "wall_hours"))
    what = f"{hours:.4g} process hours of all epochs, by stage, without the test after the last epoch"
    return Answer(YES, f"{what}; {wall:.4g} hours in which the driver worked, with everything")


def _setup(seen: Seen) -> Answer:
    if seen.facts.description.get("git_commit") is None:
        return Answer(NO, "the resolved spec, seeds and versions are here; the git commit is not known")
    if items(seen.facts.description.get("outside")):
        return Answer(NO, "the resolved spec, seeds, versions and commit are here; code of the user's own is not")
    return Answer(YES, "the resolved spec, all seeds, versions and the git commit are here")


def _relative(seen: Seen) -> Answer:
    first = next((each for each in seen.improvement if each.get("of") == "first" and each.get("part") == "test"), None)
    first = first or next(iter(seen.improvement), None)
    if first is None:
        return Answer(NO, "there is no completed random cell beside a completed genotype")
    relative, low, high = (number(first.get(key)) for key in ("relative", "relative_low", "relative_high"))
    shown = "not defined" if relative is None else f"{100 * relative:+.2f} %"
    ends = "no interval" if low is None or high is None else f"95 % interval {100 * low:+.2f} to {100 * high:+.2f} %"
    return Answer(
        YES,
        f"{shown} of {first['part']} data ({ends}; n = {first['n']} evaluation seeds of the first, "
        f"{first['random_n']} random cells)",
    )


def _data_sets(seen: Seen) -> Answer:
    done = [name for name, records in seen.stages.items() if records]
    distinct = {repr(data_of(seen.spec, name)) for name in done} | (
        {repr(seen.spec.get("data"))} if seen.completed else set()
    )
    if len(distinct) > 1:
        return Answer(YES, f"{len(distinct)} sections of data: the search's, and those of {_named(done)}")
    return Answer(NO, "every stage uses the same data")


def _trainings(seen: Seen) -> Answer:
    done = [name for name, records in seen.stages.items() if records]
    distinct = {seen.training(name) for name in done}
    if len(distinct) > 1:
        return Answer(YES, f"{len(distinct)} training settings, in the stages {_named(done)}")
    return Answer(
        NO, f"{_count(len(distinct), 'training setting', 'training settings')} among the stages of retraining"
    )


def _spread(seen: Seen) -> Answer:
    known = [len(seeds) for seeds in seen.seeds().values()]
    if not known:
        return Answer(NO, "no genotype was retrained")
    answer = YES if min(known) > 1 else NO
    return Answer(answer, f"each mean has its standard deviation and n; the smallest n is {min(known)}")


def _tricks(seen: Seen) -> Answer:
    if not seen.facts.stages:
        return Answer(NO, "nothing was retrained")
    return Answer(YES, "each stage's training is in the resolved spec with every setting, defaults too")


def _selection(seen: Seen) -> Answer:
    if not seen.evaluated:
        return Answer(NO, "nothing was retrained")
    stages = [section(each) for each in items(section(seen.body["decisions"])["stages"])]
    unproved = [str(each["stage"]) for each in stages if each["follows_from_results"] is not True]
    if unproved or not stages:
        return Answer(UNKNOWN, f"who entered {_named(unproved or [EVALUATE])} does not follow from the results here")
    named = _named([each["stage"] for each in stages])
    return Answer(
        YES,
        f"who entered {named} follows from figures of held-out data alone, and the ranking is by "
        f"{seen.facts.score.words}",
    )


_Question = tuple[str, Callable[[Seen], Answer]]
LINDAUER: Sequence[_Question] = (
    ("Is the code of the training pipelines released?", _code),
    ("Is the code of the search method released?", _code),
    ("Is code released at once, and not after it was cleaned up?", _not_of_a_run),
    ("Do compared methods use the same benchmark: data, split, search space and code?", _same_benchmark),
    ("Were ablation studies run?", _ablation),
    ("Are the compared results evaluated by the same protocol?", _same_protocol),
    ("Is performance compared over time?", _over_time),
    ("Is it compared with random sampling?", _random),
    ("Were searches and evaluations run several times, and are the seeds reported?", _runs),
    ("Was a tabular or surrogate benchmark used?", _tabular),
    ("Are confounding factors controlled: hardware, versions?", _confounding),
    ("Is it reported how settings were tuned, and at what cost?", _tuning),
    ("Is the time of the whole method reported, end to end?", _whole_time),
    ("Are all details of the experimental setup reported?", _setup),
)
YANG: Sequence[_Question] = (
    ("Is the relative improvement over random cells of the same space and training given?", _relative),
    ("Was the method evaluated on several data sets?", _data_sets),
    ("Was the method evaluated with several training settings?", _trainings),
    ("Are results means over several evaluation seeds, with their spread?", _spread),
    ("Is each part of the training protocol named, so that its effect is not taken for the cell's?", _tricks),
    ("Is the cost of tuning the search included?", _tuning),
    ("Is nothing chosen by test data?", _selection),
)


def checklists(facts: Facts, body: Mapping[str, object]) -> list[dict[str, object]]:
    seen = Seen(facts, body)
    return [
        _answered("Lindauer and Hutter 2019, Best practices for research on NAS (arXiv 1909.02453)", LINDAUER, seen),
        _answered(
            "Yang, Esperanca and Carlucci 2020, NAS evaluation is frustratingly hard (arXiv 1912.12522)", YANG, seen
        ),
    ]


def _answered(source: str, questions: Sequence[_Question], seen: Seen) -> dict[str, object]:
    answers = [
        {"number": place, "question": question, **answer(seen)._asdict()}
        for place, (question, answer) in enumerate(questions, start=1)
    ]
    return {"source": source, "items": answers}


def _hours(seen: Seen, stage: str) -> str:
    known = next((each for each in map(section, items(seen.cost["stages"])) if each.get("stage") == stage), {})
    return f"{number(known.get('process_hours')) or 0.0:.4g} process hours"


def _named(names: Sequence[object]) -> str:
    texts = [str(name) for name in names]
    rest = len(texts) - _NAMED
    return listed(texts) if rest <= 0 else f"{', '.join(texts[:_NAMED])} and {rest} more"


def _count(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"
