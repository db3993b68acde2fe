#!/usr/bin/env python3
"""Which one-line faults do the tests see? Every mutant of `cargo mutants`, with one build for all of them.

A build for each of thousands of mutants would take weeks. Here each function begins with a switch
that runs a changed copy of its body, and an environment variable says which mutant is active. Then
each mutant runs only the tests that reach its function, the quickest first, until one fails.

    mkdir WORK && cargo mutants --list --json -f 'crates/diffusion/src/**' > WORK/mutants.json
    tools/mutants.py WORK weave        copies HEAD to WORK/tree, weaves, drops what does not compile
    tools/mutants.py WORK build ARGS   `cargo test --release --no-run ARGS`, e.g. --workspace --lib --test oracles
    tools/mutants.py WORK reach        runs every test alone once: its time, and which functions it reaches
    tools/mutants.py WORK run SECONDS  mutants against the tests of at most so many seconds; goes on where it stopped
    tools/mutants.py WORK report       counts, and the mutants that no test has seen

WORK/tree/target may be a copy of the repository's, so that dependencies are not built again. Not woven,
and so to be tried by hand: constants, and functions that return an opaque type other than an iterator.
"""
import json
import os
import re
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

WORK = Path(sys.argv[1]).resolve()
TREE = WORK / "tree"
SWITCH = Path("crates/diffusion/src/mutant_switch.rs")  # in the crate that all others depend on
TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.[^']*|[^'\\])'|.""", re.S)
ITERATOR = re.compile(r"-> impl Iterator<Item\s*=\s*([^>]*)>$")
# A hang is a failure: processor time is limited to this many times the test's own, plus some seconds.
LONGER, SECONDS = 4, 3


def load(name, default=None):
    path = WORK / name
    return json.loads(path.read_text()) if path.exists() else default


def lines(name):
    path = WORK / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(name, record):
    with open(WORK / name, "a") as file:
        file.write(json.dumps(record) + "\n")


# Weaving


def body_start(text, start, end):
    """Where the brace of a function's body is; its signature has none outside parentheses."""
    depth = 0
    for token in TOKEN.finditer(text, start, end):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.group(), 0)
        if token.group() == "{" and depth == 0:
            return token.start()
    raise ValueError(text[start:end])


def weave_file(text, mutants, crate, number, dropped):
    """The text with a switch in each function, and the lines of each mutant in it."""
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    at = lambda place: starts[place["line"] - 1] + place["column"] - 1
    functions = {}
    for mutant in mutants:
        span = mutant["function"]["span"]
        functions.setdefault((at(span["start"]), at(span["end"])), []).append(mutant)
    inserts = []  # offset, characters to remove, text to put there, mutant of the text
    for (first, last), own in functions.items():
        opening = body_start(text, first, last)
        constant = text.find("const fn", first, opening)
        if constant >= 0:
            inserts.append((constant, len("const "), "", None))
        iterator = ITERATOR.search(own[0]["function"]["return_type"])
        boxed = f"Box<dyn Iterator<Item = {iterator.group(1)}> + '_>" if iterator else None
        if boxed:
            inserts.append((last - 1, 0, f"}}) as {boxed}\n", None))
        function = number(own[0])
        inserts.append((opening + 1, 0, f"\nmatch {crate}::mutant_switch::active({function}) {{\n", None))
        for mutant in own:
            mutant["reached_as"] = function
            if mutant["id"] in dropped:
                continue
            start, end = at(mutant["span"]["start"]), at(mutant["span"]["end"])
            body = text[opening:start] + mutant["replacement"] + text[end:last]
            body = f"Box::new({body}) as {boxed}" if boxed else body
            inserts.append((opening + 1, 0, f"{mutant['id']} => {{ return {body} }}\n", mutant["id"]))
        inserts.append((opening + 1, 0, "_ => {}\n}\n" + ("Box::new({" if boxed else ""), None))
    result, position, line, arms = [], 0, 1, []
    for offset, removed, new, mutant in sorted(inserts, key=lambda insert: insert[0]):
        result += [text[position:offset], new]
        line += text.count("\n", position, offset)
        arms += [(line, line + new.count("\n") - 1, mutant)] if mutant else []
        line += new.count("\n")
        position = offset + removed
    return "".join(result) + text[position:], arms


def write(path, text):
    """Only what has changed, so that little is built again."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def original(file):
    return subprocess.run(["git", "show", f"HEAD:{file}"], check=True, capture_output=True, text=True).stdout


def weave(mutants, dropped):
    functions, arms, files = [], {}, {}
    for mutant in mutants:
        returned = mutant["function"]["return_type"] if mutant["function"] else "impl"
        if "impl" not in returned or ITERATOR.search(returned):
            files.setdefault(mutant["file"], []).append(mutant)

    def number(mutant):
        functions.append(mutant["function"]["function_name"])
        return len(functions)

    for file, own in files.items():
        crate = "crate" if file.startswith(str(SWITCH.parent)) else "fewstep_diffusion"
        text, arms[file] = weave_file(original(file), own, crate, number, dropped)
        write(TREE / file, text)
    root = SWITCH.parent / "lib.rs"
    write(TREE / root, original(root).replace("\nmod ", "\n#[doc(hidden)]\npub mod mutant_switch;\nmod ", 1))
    write(TREE / SWITCH, SWITCH_TEXT.replace("COUNT", str(len(functions) + 1)))
    return arms


SWITCH_TEXT = """//! Which mutant is active, and which functions are reached.
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
static SETTINGS: OnceLock<(u32, Option<String>)> = OnceLock::new();
static SEEN: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];
/// The number of the active mutant; 0 for none.
#[inline(never)]
pub fn active(function: usize) -> u32 {
    let (mutant, record) = SETTINGS.get_or_init(|| {
        let mutant = std::env::var("MUTANT").ok().and_then(|id| id.parse().ok());
        (mutant.unwrap_or(0), std::env::var("MUTANT_RECORD").ok())
    });
    if let Some(file) = record && !SEEN[function].swap(true, Ordering::Relaxed) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
        let line = format!("{function}\\n");
        file.expect("a file").write_all(line.as_bytes()).expect("written");
    }
    *mutant
}
"""


def weave_what_compiles():
    if not TREE.exists():
        TREE.mkdir()
        archive = subprocess.run(["git", "archive", "HEAD"], check=True, capture_output=True).stdout
        subprocess.run(["tar", "x", "-C", str(TREE)], check=True, input=archive)
    mutants = load("mutants.json")
    for index, mutant in enumerate(mutants):
        mutant["id"] = index + 1
    dropped = set(load("dropped.json", []))
    while True:
        arms = weave(mutants, dropped)
        check = ["cargo", "check", "--release", "--workspace", "--lib", "--keep-going", "--message-format=json"]
        checked = subprocess.run(check, cwd=TREE, capture_output=True, text=True)
        wrong, elsewhere = set(), []
        for line in checked.stdout.splitlines():
            message = json.loads(line).get("message")
            if not isinstance(message, dict) or message["level"] != "error":
                continue
            hit = {
                mutant
                for span in message["spans"]
                for first, last, mutant in arms.get(span["file_name"], [])
                if first <= span["line_start"] and span["line_end"] <= last
            }
            wrong |= hit
            elsewhere += [] if hit or not message["spans"] else [message["rendered"]]
        if checked.returncode == 0:
            break
        if not wrong:
            sys.exit("errors that belong to no mutant:\n" + "\n".join(elsewhere) + checked.stderr)
        dropped |= wrong
        (WORK / "dropped.json").write_text(json.dumps(sorted(dropped)))
        print(len(dropped), "of", len(mutants), "do not compile", flush=True)
    keys = ("id", "file", "name", "reached_as")
    described = [{key: mutant.get(key) for key in keys} for mutant in mutants]
    woven = sorted(mutant for of_file in arms.values() for _, _, mutant in of_file)
    (WORK / "woven.json").write_text(json.dumps({"mutants": described, "woven": woven}))


# Running


def run_test(test, limit, mutant=0, record=None):
    """The exit code of a test by itself, and its processor time; on one thread, so that times compare."""
    set_to = {"RAYON_NUM_THREADS": "1", "MUTANT": str(mutant)} | ({"MUTANT_RECORD": record} if record else {})

    def limits():
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 3))
        resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    before = used()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [test["program"], "--exact", test["test"], "--test-threads=1"]
    try:
        code = subprocess.run(
            command, cwd=test["folder"], env=os.environ | set_to, preexec_fn=limits, timeout=20 * limit + 600, **quiet
        ).returncode
    except subprocess.TimeoutExpired:
        code = "hangs"
    return code, used() - before


def reach():
    known = {(test["binary"], test["test"]) for test in lines("tests.jsonl")}
    for artifact in lines("build.json"):
        if not (artifact.get("executable") and artifact["profile"]["test"]):
            continue
        folder = str(Path(artifact["manifest_path"]).parent)
        binary = f"{Path(folder).name}:{artifact['target']['name']}"
        of = lambda *args: subprocess.run(
            [artifact["executable"], "--list", "--format=terse", *args], cwd=folder, capture_output=True, text=True
        ).stdout.splitlines()
        for line in sorted(set(of()) - set(of("--ignored"))):
            name, _, kind = line.rpartition(": ")
            if kind != "test" or (binary, name) in known:
                continue
            record = WORK / "record.txt"
            record.unlink(missing_ok=True)
            test = {"binary": binary, "program": artifact["executable"], "folder": folder, "test": name}
            code, seconds = run_test(test, 3600, record=str(record))
            reached = sorted(set(map(int, record.read_text().split()))) if record.exists() else []
            append("tests.jsonl", test | {"code": code, "seconds": seconds, "reached": reached})


def state():
    """What is known of each mutant: the tests that it passed, and the one that saw it."""
    known = {}
    for record in lines("journal.jsonl"):
        passed, seen = known.get(record["id"], ([], None))
        known[record["id"]] = (passed + record["passed"], record["seen"] or seen)
    return known


def run(longest):
    woven, known = load("woven.json"), state()
    tests = [test for test in lines("tests.jsonl") if test["code"] == 0 and test["seconds"] <= longest]
    viable, sees = set(woven["woven"]), {}
    for mutant in woven["mutants"]:
        passed, seen = known.get(mutant["id"], ([], None))
        function = mutant["reached_as"]
        sees.setdefault(function, set()).update([seen] if seen else [])
        if mutant["id"] not in viable or seen:
            continue
        # What saw another mutant of the function sees this one too, as a rule.
        cost = lambda test: test["seconds"] * (0.2 if f"{test['binary']} {test['test']}" in sees[function] else 1)
        passes = []
        for test in sorted((test for test in tests if function in test["reached"]), key=cost):
            name = f"{test['binary']} {test['test']}"
            if name in passed:
                continue
            code, _ = run_test(test, LONGER * test["seconds"] + SECONDS, mutant["id"])
            if code != 0:
                seen = name
                sees[function].add(name)
                break
            passes.append(name)
        append("journal.jsonl", {"id": mutant["id"], "passed": passes, "seen": seen})


def report():
    woven, known, counts = load("woven.json"), state(), Counter()
    viable = set(woven["woven"])
    for mutant in woven["mutants"]:
        passed, seen = known.get(mutant["id"], (None, None))
        kind = "not woven" if mutant["id"] not in viable else "seen" if seen else "not tried" if passed is None else "not seen"
        counts[kind] += 1
        if kind == "not seen":
            print(f"{mutant['name']} ({len(passed)} tests)")
    print(dict(counts))


if __name__ == "__main__":
    match sys.argv[2:]:
        case ["weave"]:
            weave_what_compiles()
        case ["build", *arguments]:
            build = ["cargo", "test", "--release", "--no-run", "--message-format=json", *arguments]
            with open(WORK / "build.json", "w") as built:
                subprocess.run(build, cwd=TREE, check=True, stdout=built)
        case ["reach"]:
            reach()
        case ["run", seconds]:
            run(float(seconds))
        case ["report"]:
            report()
        case _:
            sys.exit(__doc__)
