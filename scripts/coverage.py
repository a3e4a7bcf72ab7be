"""Reads the lines that tests went through, for scripts/coverage: prints the files that have too few, and the whole."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LEAST = 95.0
DECIDES = re.compile(
    r"crates/core/src/"
)


def tests_of(text):
    """The lines of modules of tests inside a file, which end with it."""
    for number, line in enumerate(text.splitlines(), 1):
        if line == "#[cfg(test)]" and "mod tests {" in "\n".join(text.splitlines()[number : number + 3]):
            return number
    return None


def spans(numbers):
    """Line numbers as people write them: 3-5, 9."""
    said, begun, last = [], None, None
    for number in [*numbers, None]:
        if last is not None and number == last + 1:
            last = number
            continue
        if begun is not None:
            said.append(str(begun) if begun == last else f"{begun}-{last}")
        begun = last = number
    return ", ".join(said)


def main():
    files, name = {}, None
    for line in open(sys.argv[1]):
        if line.startswith("SF:"):
            path = pathlib.Path(line[3:].strip())
            name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else None
        elif line.startswith("DA:") and name and DECIDES.match(name) and not name.endswith("tests.rs"):
            number, count = line[3:].split(",")[:2]
            lines = files.setdefault(name, {})
            lines[int(number)] = max(lines.get(int(number), 0), int(count))
    reached = whole = 0
    for name, lines in sorted(files.items()):
        end = tests_of((ROOT / name).read_text())
        lines = {number: count for number, count in lines.items() if end is None or number < end}
        missed = sorted(number for number, count in lines.items() if count == 0)
        reached, whole = reached + len(lines) - len(missed), whole + len(lines)
        percent = 100 * (1 - len(missed) / max(len(lines), 1))
        if percent < LEAST:
            print(f"{percent:6.1f} %  {name}: {spans(missed)}")
    percent = 100 * reached / max(whole, 1)
    print(f"\nscripts/coverage: {reached} of {whole} lines of the deciding parts, {percent:.1f} %")
    sys.exit(0 if percent >= LEAST else 1)


main()
