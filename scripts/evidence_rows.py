"""What real traffic did to the evidence, and what it does now: the rows that bench-evidence runs by `--only rows`.

Every figure comes out of `serin simulate`. "Before" is what the release before cohorts of dispatch showed in the same
case; that release has no flags for most of them, so its figures are written here as they were measured then. Where users
stick it is what judging the same traffic by requests shows, as a plan with `mirror` beside affinity does.
"""

import json
import math

STRICT = """\
function: bench
alias: live
steps: [3%, 5%, 25%, 50%, 100%]
bake: 5m
analysis: {failures: {maxRatio: 1, maxAdded: 0pp}, latency: none, refusals: none}
"""
BRIEF = STRICT.replace("bake: 5m", "bake: 1m")
PLAIN = "function: bench\nalias: live\nsteps: [3%, 25%, 50%, 100%]\nbake: 1m\n"
STICKING = STRICT.replace("analysis:", "routing: {affinity: {cookie: session}}\nanalysis:")
FEW = ["--users", "50", "--failing-users", "2%x20%", "--until", "20m"]
SOME = ["--users", "1000", "--failing-users", "0.1%x100%", "--until", "20m"]
OTHERS = ["--users", "1000", "--failing-users", "2%x20%"]
PROVING = ["--users", "10000", "--stable-failures", "0.01%", "--canary-failures", "0.01%", "--until", "1h"]
OFTEN = ["--users", "10000", "--until", "2h"]
HASTY = STICKING.replace("bake: 5m", "bake: 1m")
MANY = ["--users", "10000", "--failing-users", "2%x20%", "--until", "20m"]
OUTAGE = ["--incident", "100%@10s+1s", "--canary-breaks", "81s", "--canary-failures", "100%", "--until", "1h"]
BROKEN = ["--canary-failures", "100%", "--until", "1h"]
INCIDENT = ["--incident", "30%@90s+3m", "--until", "10m", "--failures-show"]

SLOW = """\
function: bench
alias: live
steps: [3%, 25%, 100%]
bake: 2m
analysis: {failures: {maxRatio: 1, maxAdded: 0pp}, refusals: none, latency: {warmup: 30s}}
"""
FADING = """\
function: bench
alias: live
steps: [5%, 100%]
bake: 2h
onFailure: report
analysis: {latency: none, refusals: none}
"""
HALF = "function: bench\nalias: live\nsteps: [50%, 100%]\nbake: 1m\nanalysis: {latency: none, refusals: none}\n"
WATCHED = HALF.replace("50%", "25%") + "firstWeight: unproven\nwatch: {for: 1h}\n"
SPELLS = ["--prior", "2h", "--until", "2h", "--spells"]
FADED = ["--canary-breaks", "1h", "--canary-failures", "20%", "--until", "61m"]
LATER = ["--canary-breaks", "40m", "--canary-failures"]

# What, plan, requests a second, flags, what is told, at most, before. "failed" and "requests" are medians until rollback
# of runs that must all end so; "back" is a share of healthy canaries rolled back, "up" one of those promoted. "faded" is what a canary that breaks
# once it is proven fails while it may still advance; "alarms" is the share of promotions with an alarm of the watch, and
# "noticed" what a promoted version that breaks fails until there is one. Of what is dear only a part of the runs is made,
# as the number after "before" says, and two at least.
ROWS = [
    ("outage of a second, then a broken canary", STRICT, 100, OUTAGE, "failed", 5, "72"),
    ("outage of a second, then a broken canary", STRICT, 1000, OUTAGE, "failed", 12, "678"),
    ("the same, where nearly nothing failed before", STRICT, 100, ["--stable-failures", "0.001%", *OUTAGE], "failed", 5, "–"),
    ("calm, a broken canary", STRICT, 100, BROKEN, "failed", 3, "2"),
    ("calm, a broken canary", STRICT, 1000, BROKEN, "failed", 10, "3"),
    ("cold for 200 requests after each rise", PLAIN, 100, ["--cold", "200x3", "--until", "1h"], "back", 0.02, "100%"),
    ("three times as slow, and not for being cold", PLAIN, 100, ["--canary-latency", "x3", "--until", "1h"], "requests", 320, "72"),
    ("incident that shows after 20 s and after 1 s", BRIEF, 50, [*INCIDENT, "20s/1s"], "back", 0.01, "94%"),
    ("incident that shows after 1 s and after 20 s", BRIEF, 50, [*INCIDENT, "1s/20s"], "back", 0.01, "60%"),
    ("incident that shows after 2 s and after .2 s", BRIEF, 50, [*INCIDENT, "2s/200ms"], "back", 0.01, "11–99%"),
    ("a canary that hangs", PLAIN, 100, ["--canary-hangs", "100%", "--until", "1h"], "requests", 7, "81"),
    ("50 users who stick, some of whom fail alike", STICKING, 10, FEW, "back", 0.01, "2%", 0.5),
    ("1000 users who stick, one always fails", STICKING, 10, SOME, "back", 0.01, "6%", 0.5),
    ("1000 users who stick, some fail alike", STICKING, 10, [*OTHERS, "--until", "20m"], "back", 0.01, "15%", 0.5),
    ("10,000 users who stick, some fail alike", STICKING, 10, MANY, "back", 0.01, "7%", 0.5),
    ("10,000 users who stick prove a good canary", STICKING, 100, PROVING, "up", 0.8, "–", 0.25),
    ("the same, where .1 % of requests fail", STICKING, 100, OFTEN, "up", 0.6, "1 of 16", 0.2),
    ("1000 users who stick, a canary broken for them", STICKING, 10, [*OTHERS, *BROKEN], "failed", 6, "–"),
    ("the same", STICKING, 100, [*OTHERS, *BROKEN], "failed", 6, "–"),
    ("incident that shows after 20 s and after 1 s, 1000 users", HASTY, 50, ["--users", "1000", *INCIDENT, "20s/1s"], "back", 0.01, "–", 0.25),
    ("404 to everything, default plan", PLAIN, 100, ["--canary-refusals", "100%", "--until", "1h"], "requests", 8, "promoted"),
    ("own spells: 5 % for 10 s every 10 min", STRICT, 100, [*SPELLS, "5%@10m+10s"], "back", 0.01, "26%", 0.05),
    ("own spells: 5 % for 30 s every 10 min", STRICT, 10, [*SPELLS, "5%@10m+30s"], "back", 0.02, "14–57%", 0.2),
    ("own spells: answers x3 for 10 s every 5 min", SLOW, 20, [*SPELLS, "x3@5m+10s"], "back", 0.02, "45%", 0.05),
    ("the same spells of 5 %, and a broken canary", STRICT, 10, [*SPELLS, "5%@10m+30s", *BROKEN[:2]], "failed", 7, "–", 0.2),
    ("proven at 5 %, broken to 20 % after an hour", FADING, 100, FADED, "faded", 20, "330", 0.05),
    ("a good version, watched for an hour", WATCHED, 10, [], "alarms", 0.01, "no watch", 0.3),
    ("the same, broken to 20 % in the hour", WATCHED, 10, [*LATER, "20%"], "noticed", 20, "no watch", 0.2),
    ("the same, broken altogether", WATCHED, 10, [*LATER, "100%"], "noticed", 20, "no watch", 0.2),
    ("[50%, 100%] as it is, a broken canary", HALF, 100, BROKEN, "failed", 25, "14, unwarned"),
    ("[50%, 100%] with firstWeight: probe", HALF + "firstWeight: probe\n", 100, BROKEN, "failed", 4, "14"),
    ("[50%, 100%] with firstWeight: mirror", HALF + "firstWeight: mirror\n", 100, BROKEN, "failed", 0, "14"),
]


PATIENT = """\
function: bench
alias: live
steps: %s
analysis: {latency: none, refusals: none}
stepDeadline: {after: 200h}
"""
FIVE, THREE = PATIENT % "[3%, 5%, 25%, 50%, 100%]", PATIENT % "[5%, 25%, 100%]"
# Plans, requests a second, stable's failures: lint's time to finish against what nine of ten simulated runs take.
LINTED = [(FIVE, 1, "0.1%"), (FIVE, 10, "0.1%"), (FIVE, 1, "1%"), (FIVE, 10, "1%"), (FIVE, 100, "1%"),
          (THREE, 1, "0.1%"), (THREE, 10, "1%"), (THREE, 0.2, "0.1%")]
# Dear ones are made where so many runs are asked for.
LINTED_FROM = 100

REPLAYED = PATIENT % "[3%, 25%, 100%]" + "bake: 0s\n"


def wilson(share, runs, z=1.96):
    """The interval of a share at 95 %."""
    middle = (share + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z / (1 + z * z / runs) * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def run(serin, runs, misses, said):
    """Runs every row; gives the rows of a table."""
    rows = []
    for name, plan, rps, flags, told, most, before, *part in ROWS:
        made = max(round(runs * part[0]), 2) if part else runs
        outcome = serin.simulate(plan, made, rps, *flags)
        back = outcome["outcomes"]["rolledBack"]
        if told in ("back", "alarms"):
            share = back if told == "back" else outcome["watch"]["alarms"]
            low, high = wilson(share, made)
            now = f"{share:.1%} [{low:.1%}, {high:.1%}]"
            wanted = f"{most:.0%} at most"
            # A share is missed where chance does not explain it.
            missed = low > most
        elif told in ("faded", "noticed"):
            found = 1 if told == "faded" else outcome["watch"]["alarms"]
            figures = outcome["failedWhileProven"] if told == "faded" else outcome["watch"]["failedRequests"]
            figures = figures or {"median": math.inf, "p95": math.inf}
            now = f"{figures['median']:.0f} / {figures['p95']:.0f}" + ("" if found == 1 else f", found {found:.1%}")
            wanted = f"{most} failures"
            missed = figures["median"] > most or found < 1
        elif told == "up":
            share = outcome["outcomes"]["succeeded"]
            low, high = wilson(share, made)
            now = f"{share:.1%} [{low:.1%}, {high:.1%}]"
            wanted = f"{most:.0%} at least"
            missed = high < most
        else:
            figures = outcome["failedRequests" if told == "failed" else "canaryRequests"] or {"median": math.inf, "p95": math.inf}
            now = f"{figures['median']:.0f} / {figures['p95']:.0f}" + ("" if back == 1 else f", found {back:.1%}")
            wanted = f"{most} {'failures' if told == 'failed' else 'requests'}"
            missed = figures["median"] > most or back < 1
        if missed:
            misses.append(f"{name} at {rps} rps: {now}, and the target is {wanted}")
        rows.append([name, f"{rps}", before, wanted, f"**{now}**" + (f" of {made}" if part else "")])
        said(f"{name}, {rps} rps: before {before}, now {now}")
    return rows + replayed(serin, runs, misses, said) + linted(serin, runs, misses, said)


def linted(serin, runs, misses, said):
    """How far lint's time to finish is from what nine of ten rollouts take, over plans and rates."""
    if runs < LINTED_FROM:
        return []
    ratios = []
    for plan, rps, stable in LINTED:
        told = serin.lint(plan, rps, stable)["secondsP90"]
        outcome = serin.simulate(plan, runs, rps, "--stable-failures", stable, "--until", "200h")
        ratios.append(told / outcome["successSeconds"]["p90"])
        said(f"lint, {rps} rps, {stable}: {told} s, {ratios[-1]:.2f} times what nine of ten take")
        if not 1 / 1.5 <= ratios[-1] <= 1.5:
            misses.append(f"lint at {rps} rps, {stable}: {ratios[-1]:.2f} times what nine of ten rollouts take")
    now = f"**{min(ratios):.2f} to {max(ratios):.2f} times**"
    return [["lint's time to finish, of nine in ten", "0.2–100", "0.23 times", "within 1.5 times", now]]


# What harm must reach, as a logarithm, and how far from it counts by the second may be.
HARM_LIMIT = 4.605
HARM_CLOSE = 0.11


def replayed(serin, runs, misses, said):
    """Whether replay rolls back what the daemon rolled back and nothing else, and how many seconds apart the two are."""
    same, made, apart = 0, 0, 0.0
    for canary in ("0.1%", "2%", "20%", "100%"):
        for seed in range(1, max(runs // 20, 2) + 1):
            flags = ["--rps", "100", "--canary-failures", canary, "--seed", str(seed)]
            ended = json.loads(serin.ask("simulate", REPLAYED, *flags, "--runs", "1", "-o", "json"))
            lines = serin.replay(REPLAYED, serin.ask("simulate", REPLAYED, *flags, "--counts"))
            found = [line["t"] for line in lines if line["verdict"] == "rollback"]
            made += 1
            harm = max(line["lnHarm"] for line in lines)
            # What comes so close to the limit may fall on either side of it.
            is_close = abs(harm - HARM_LIMIT) < HARM_CLOSE
            same += bool(found) == (ended["outcomes"]["rolledBack"] == 1) or is_close
            apart = max([apart, *(lines[-1]["t"] - t for t in found[:1])])
    said(f"replay: {same} of {made} rollouts end as they ended, at most {apart:.0f} s sooner")
    # How unevenly stable fails may change meanwhile, which counts by the second tell less well.
    if same < 0.95 * made:
        misses.append(f"replay: {made - same} of {made} rollouts end otherwise than they ended")
    now = f"**{same} of {made}**, at most {apart:.0f} s sooner"
    return [["replay of what was counted", "100", "4.66 for 5.29", "the same verdicts", now]]


def block(rows, runs, table):
    """What docs/evidence.md has of it."""
    head = ["case", "requests/s", "before", "asked of it", "now"]
    return f"""{table(head, rows)}

Each figure is out of {runs} runs where no other number is said; failures and requests are median / 95th percentile of
what it cost until rollback, shares have their 95 % interval.
"""
