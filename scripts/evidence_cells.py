"""How often healthy canaries are taken back, by kind of traffic and by rate: the cells that bench-evidence runs by `--only cells`.

In every cell the canary does to requests what stable does, whatever befalls them; so every rollback is a false one. A
cell is a kind of traffic at one rate. What became of it is kept as a line of JSON in a file, so that the cells of one
table may be run one after another, on different days, and with as many runs as each can have.
"""

import json

from evidence_rows import wilson

ALPHA = 0.01
STRICT = """\
function: bench
alias: live
steps: [3%, 5%, 25%, 50%, 100%]
bake: 5m
analysis: {failures: {maxRatio: 1, maxAdded: 0pp}, latency: none, refusals: none, proof: none}
"""
STICKING = STRICT.replace("analysis:", "routing: {affinity: {cookie: session}}\nanalysis:")
SLOW = "function: bench\nalias: live\nsteps: [3%, 25%, 50%, 100%]\nbake: 1m\nanalysis: {proof: none}\n"
ONE = ["--stable-failures", "1%"]
SENDING = ["--bursts", "x10@30s+3s", "--bunches", "5", "--retries", "3x50%"]
DAY = ["--daily", "--day", "20m"]
SPELLS = ["--prior", "2h", "--spells"]

# What, plan, flags, and what may be rolled back at a rate, where that is not alpha: EVIDENCE's own figure for the cell, or
# what docs/evidence.md says of it.
CELLS = [
    ("equal at .1 %", STRICT, ["--stable-failures", "0.1%"], {}),
    ("equal at 1 %", STRICT, ONE, {}),
    ("equal at 5 %", STRICT, ["--stable-failures", "5%"], {}),
    ("shared incident of 30 %", STRICT, [*ONE, "--incident", "30%@10m+3m"], {}),
    ("the same, shown after 20 s and after 1 s", STRICT, ["--incident", "30%@10m+3m", "--failures-show", "20s/1s"], {}),
    ("drift .2 to 1 %", STRICT, ["--stable-failures", "0.2%", "--drift", "x5@20m"], {}),
    ("canary 1 s slower", STRICT, [*ONE, "--canary-latency", "+1s"], {}),
    ("killed every 30 s", STRICT, [*ONE, "--restart-every", "30s"], {}),
    ("failures in clumps of 3", STRICT, [*ONE, "--clumps", "3"], {1: 0.05, 10: 0.015}),
    ("own spells: 5 % for 10 s every 10 min", STRICT, [*SPELLS, "5%@10m+10s"], {}),
    ("own spells: 5 % for 30 s every 10 min", STRICT, [*SPELLS, "5%@10m+30s"], {1: 0.02, 10: 0.02}),
    ("cold for 200 requests after each rise", SLOW, ["--cold", "200x3"], {1: 0.02}),
    ("50 users who stick, some fail alike", STICKING, ["--users", "50", "--failing-users", "2%x20%"], {}),
    ("1000 users who stick, one always fails", STICKING, ["--users", "1000", "--failing-users", "0.1%x100%"], {}),
    ("1000 users who stick, some fail alike", STICKING, ["--users", "1000", "--failing-users", "2%x20%"], {}),
    ("10,000 users who stick, some fail alike", STICKING, ["--users", "10000", "--failing-users", "2%x20%"], {}),
    ("10,000 users, shared incident of 30 %", STICKING, ["--users", "10000", "--incident", "30%@10m+3m"], {}),
    ("bursts of ten times as much", STRICT, [*ONE, "--bursts", "x10@30s+3s"], {}),
    ("bursts in which a fifth fails", STRICT, [*ONE, "--bursts", "x10@30s+3s/20%"], {}),
    ("day and night", STRICT, [*ONE, *DAY], {}),
    ("clients that send again what failed", STRICT, [*ONE, "--retries", "3x50%"], {}),
    ("clients that send 20 at once, which fail alike", STRICT, [*ONE, "--bunches", "20"], {}),
    ("all of these, day and night", STRICT, [*ONE, *DAY, *SENDING], {}),
    ("all of these, 1000 users who stick", STICKING, [*ONE, *DAY, *SENDING, "--users", "1000"], {}),
]
RATES = [1, 10, 100, 1000]
NAMES = {name for name, *_ in CELLS}


def run(serin, runs, rates, wanted, path, misses, said):
    """Runs the cells of these rates whose names have `wanted` in them; what is in the file already is not run again."""
    known = read(path)
    for rps in rates:
        for name, plan, flags, _ in CELLS:
            if wanted not in name or known.get((name, rps), {"runs": 0})["runs"] >= runs:
                continue
            outcomes = serin.simulate(plan, runs, rps, *flags, "--until", "20m")["outcomes"]
            cell = {"cell": name, "rps": rps, "runs": runs, "back": round(outcomes["rolledBack"] * runs)}
            known[name, rps] = cell
            if path:
                with path.open("a") as file:
                    file.write(json.dumps(cell) + "\n")
            said(f"{name}, {rps} rps: {told(cell)}")
    for name, _, _, stated in CELLS:
        for rps in RATES:
            cell, most = known.get((name, rps)), stated.get(rps, ALPHA)
            # A share is missed where chance does not explain it.
            if cell and wilson(cell["back"] / cell["runs"], cell["runs"])[0] > most:
                misses.append(f"{name} at {rps} rps: {told(cell)} rolled back, and {most:.1%} may be")
    return known


def read(path):
    """What is known of each cell, by its name and rate; of two lines the one with more runs."""
    known = {}
    for line in path.read_text().splitlines() if path and path.exists() else []:
        cell = json.loads(line)
        if cell["runs"] >= known.get((cell["cell"], cell["rps"]), {"runs": 0})["runs"]:
            known[cell["cell"], cell["rps"]] = cell
    return known


def told(cell):
    low, high = wilson(cell["back"] / cell["runs"], cell["runs"])
    return f"{cell['back']} of {cell['runs']:,} [{low:.2%}, {high:.2%}]"


def block(known, table):
    """What docs/evidence.md has of it."""
    rows = [[name, *(told(known[name, rps]) if (name, rps) in known else "–" for rps in RATES)] for name, *_ in CELLS]
    return f"""{table(["healthy canaries rolled back", *(f"{rps} requests/s" for rps in RATES)], rows)}

Each is how many of how many runs of twenty minutes, with the 95 % interval of the share. Plans are strict, alpha is 1 %.
Written by `scripts/bench-evidence --only cells`; a dash was not run yet. The long tier runs all of them 2000 times.
"""
