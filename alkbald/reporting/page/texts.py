"""The sentences at the top of the page."""

from alkbald.reporting.page.comparison import (
    ENOUGH_TRIALS,
    PARTS,
    Comparison,
    Difference,
    seconds_a_round,
    seconds_of_rounds,
)
from alkbald.reporting.page.runs import Group


def answer(group: Group, comparison: Comparison) -> list[str]:
    """Which method is better, by how much and how sure."""
    leader, sizes = comparison.leader, f"from {comparison.start} to {comparison.end} labels"
    if comparison.start == comparison.end:
        return [f"All runs have the same {comparison.end} labels: nothing can be said of learning yet."]
    seeds = f"{leader.trials} {'seed' if leader.trials == 1 else 'seeds'}"
    if len(comparison.standings) == 1:
        one = f"{leader.curve} has a mean accuracy of {leader.mean:.3f} {sizes} ({seeds})."
        return [one, "It is the only curve with this data and protocol: there is nothing to compare it with."]
    few = comparison.differences and all(each.trials < ENOUGH_TRIALS for each in comparison.differences)
    ahead = "is ahead in" if few else "has the highest"
    if sum(standing.mean == standing.mean for standing in comparison.standings) == 1:
        said = [f"{leader.curve} alone came to {comparison.end} labels: mean accuracy {leader.mean:.3f} ({seeds})."]
    else:
        among = ""
        if any(standing.mean > leader.mean for standing in comparison.standings):
            among = f"Of the curves with at least {min(ENOUGH_TRIALS, leader.trials)} seeds, "
        said = [f"{among}{leader.curve} {ahead} mean accuracy {sizes}: {leader.mean:.3f} ({seeds})."]
    if few:
        said.append(f"There are too few common seeds to rank methods: at least {ENOUGH_TRIALS} are needed.")
    for verdict, words in (
        ("better", "It is better than"),
        ("not told apart", "It is not told apart from"),
        ("worse", "At the sizes that both came to, it is worse than"),
        ("too few seeds", "Too few common seeds to rank it against these (its lead so far):"),
    ):
        found = [_difference(each, comparison) for each in comparison.differences if each.verdict == verdict]
        if found:
            said.append(f"{words} {'; '.join(found)}.")
    judged = sum(each.trials >= ENOUGH_TRIALS for each in comparison.differences)
    if judged:
        many = f", and {judged} were made" if judged > 1 else ""
        said.append(f"Brackets hold 95% intervals, each for one comparison by itself{many}.")
    compared = {each.less for each in comparison.differences} | {leader.curve}
    if alone := [standing.curve for standing in comparison.standings if standing.curve not in compared]:
        said.append(f"Without a common seed, or with one round only: {', '.join(alone)}.")
    return said


def _difference(each: Difference, comparison: Comparison) -> str:
    """The other curve and by how much the leader differs, with the sizes where they are not those of the ranking."""
    sizes = "" if each.end == comparison.end else f", up to {each.end} labels"
    if each.trials < ENOUGH_TRIALS:
        return f"{each.less} {each.mean:+.3f} ({each.trials} {'seed' if each.trials == 1 else 'seeds'}{sizes})"
    if each.verdict == "not told apart":
        return f"{each.less} ({each.mean:+.3f} [{each.low:+.3f}, {each.high:+.3f}]{sizes})"
    low, high = sorted((abs(each.low), abs(each.high)))
    return f"{each.less} by {abs(each.mean):.3f} [{low:.3f}, {high:.3f}]{sizes}"


def time_of_a_round(group: Group, comparison: Comparison) -> str:
    """How long each part of a round of the leader takes, and of the quickest and slowest curve."""
    table, each = seconds_a_round(group), seconds_of_rounds(group)
    if table.empty:
        return "No round has acquired a batch yet: there are no seconds to tell."
    curve = comparison.leader.curve if comparison.leader.curve in table.index else table.index[0]
    row = table.loc[curve]
    parts = [f"{PARTS[part]} {_seconds(row[part])}" for part in PARTS if row[part] > 0]
    total = each.groupby(level=0, sort=False).median()
    said = f"A round of {curve} takes {_seconds(total[curve])}: {', '.join(parts)}."
    if len(total) > 1:
        said += f" Over all methods, a round takes {_seconds(total.min())} ({total.idxmin()}) to "
        said += f"{_seconds(total.max())} ({total.idxmax()})."
    devices = sorted({device for run in group.runs for device in run.devices})
    said += f" Medians over rounds, which took from {_seconds(each.min())} to {_seconds(each.max())} each, "
    commits = len({commit for run in group.runs for commit in run.commits})
    code = f", from {commits} commits" if commits > 1 else ""
    return f"{said}on {'; '.join(devices)}{code}."


def _seconds(value: float) -> str:
    if value >= 120:
        return f"{value / 60:.1f} minutes"
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"
