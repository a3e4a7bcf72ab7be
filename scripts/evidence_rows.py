"""What real traffic did to the evidence, and what it does now: the rows that bench-evidence runs by `--only rows`.

Every figure comes out of `serin simulate`. "Before" is what the release before cohorts of dispatch showed in the same
case; that release has no flags for most of them, so its figures are written here as they were measured then.
"""

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
OUTAGE = ["--incident", "100%@10s+1s", "--canary-breaks", "81s", "--canary-failures", "100%", "--until", "1h"]
BROKEN = ["--canary-failures", "100%", "--until", "1h"]
INCIDENT = ["--incident", "30%@90s+3m", "--until", "10m", "--failures-show"]

# What, plan, requests a second, flags, what is told, at most, before. "failed" and "requests" are medians until rollback
# of runs that must all end so; "back" is a share of healthy canaries rolled back.
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
    ("404 to everything, default plan", PLAIN, 100, ["--canary-refusals", "100%", "--until", "1h"], "requests", 8, "promoted"),
]


def wilson(share, runs, z=1.96):
    """The interval of a share at 95 %."""
    middle = (share + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z / (1 + z * z / runs) * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def run(serin, runs, misses, said):
    """Runs every row; gives the rows of a table."""
    rows = []
    for name, plan, rps, flags, told, most, before in ROWS:
        outcome = serin.simulate(plan, runs, rps, *flags)
        back = outcome["outcomes"]["rolledBack"]
        if told == "back":
            low, high = wilson(back, runs)
            now = f"{back:.1%} [{low:.1%}, {high:.1%}]"
            wanted = f"{most:.0%} at most"
            # A share is missed where chance does not explain it.
            missed = low > most
        else:
            figures = outcome["failedRequests" if told == "failed" else "canaryRequests"] or {"median": math.inf, "p95": math.inf}
            now = f"{figures['median']:.0f} / {figures['p95']:.0f}" + ("" if back == 1 else f", found {back:.1%}")
            wanted = f"{most} {'failures' if told == 'failed' else 'requests'}"
            missed = figures["median"] > most or back < 1
        if missed:
            misses.append(f"{name} at {rps} rps: {now}, and the target is {wanted}")
        rows.append([name, f"{rps}", before, wanted, f"**{now}**"])
        said(f"{name}, {rps} rps: before {before}, now {now}")
    return rows


def block(rows, runs, table):
    """What docs/evidence.md has of it."""
    head = ["case", "requests/s", "before", "asked of it", "now"]
    return f"""{table(head, rows)}

Each figure is out of {runs} runs; failures and requests are median / 95th percentile of what it cost until rollback,
shares have their 95 % interval.
"""
