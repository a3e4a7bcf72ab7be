//! Files that try to cost time, memory or the process: each is answered, and soon.

use proptest::prelude::*;
use serin::cli::diagnose::render;
use serin_core::plan::{Source, check_defaults, load, used_defaults};
use std::time::Duration;

use super::check_place;
use crate::support::files;

const BYTES_MAX: usize = 256 * 1024;

/// A head, then as many repetitions as fit.
fn filled(head: &str, unit: &str) -> Vec<u8> {
    let mut text = head.to_owned();
    while text.len() + unit.len() <= BYTES_MAX {
        text.push_str(unit);
    }
    text.into_bytes()
}

fn hostile_files() -> Vec<(String, Vec<u8>)> {
    let plan = "function: f\nalias: a\nsteps: [100%]\n";
    let units = [
        "[",
        "]",
        "{",
        "}",
        "- ",
        "? ",
        ": ",
        "a: ",
        "\"",
        "'",
        "|\n",
        "> ",
        "&a ",
        "*a ",
        "!!a ",
        "!<",
        "#",
        " #",
        "# x\n",
        "%",
        "@",
        "`",
        ",",
        "[,",
        "{,",
        "{a: ",
        "[a, ",
        "- - ",
        "-\n",
        "a\n",
        "a \n",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\n ",
        "\t",
        "\0",
        "\u{feff}",
        "\u{202e}",
        "é",
        "🐦",
        "\\",
        "\"\\",
        "\\u0041",
        "---\n",
        "...\n",
        "--- a\n",
        "%YAML 1.2\n",
        "a: 1\n",
        "<<: 1\n",
        "? a\n: b\n",
        "[[],",
        "[{}],",
        "{{}: ",
        "a: b: ",
        "a:\n ",
        "0",
        "1_",
        "1:",
        "9%",
        "- 3%\n",
        "x,",
        "a-",
        "MON,",
        "* ",
        "@daily ",
        "0 0 ",
        "1h ",
        "5m",
        "-",
        "--",
        "&",
        "*",
        "!",
        "a: &a [*a, ",
        "- &a\n",
        "a: |\n  b\n",
    ];
    let heads = [
        "",
        plan,
        "[",
        "{",
        "\"",
        "a: |\n ",
        "steps: [",
        "labels: {",
        "description: \"",
        "start: {cron: \"",
        "windows: {allow: [{days: \"",
    ];
    let mut made = Vec::new();
    for head in heads {
        for unit in units {
            made.push((format!("{head:?} then {unit:?}"), filled(head, unit)));
        }
    }
    let lines = |line: &dyn Fn(usize) -> String| -> Vec<u8> {
        let mut text = plan.to_owned();
        for index in 0.. {
            let line = line(index);
            if text.len() + line.len() > BYTES_MAX {
                break;
            }
            text.push_str(&line);
        }
        text.into_bytes()
    };
    for cron in [
        "0 0 30 2 *",
        "0 0 31 2,4,6,9,11 *",
        "59 23 31 4 +SUN#5",
        "0 0 30W 2 *",
        "0 0 29 2 +MON#5",
        "* * L 2 5L",
    ] {
        made.push((cron.to_owned(), format!("{plan}start: {{cron: \"{cron}\"}}\n").into_bytes()));
    }
    made.push(("unknown keys".to_owned(), lines(&|index| format!("k{index}: v\n"))));
    made.push((
        "long unknown keys".to_owned(),
        lines(&|index| format!("{}{index}: v\n", "stepDeadline".repeat(3))),
    ));
    made.push(("one key".to_owned(), lines(&|_| "bake: 5\n".to_owned())));
    made.push(("anchors".to_owned(), lines(&|index| format!("k{index}: &a{index} v\n"))));
    made.push(("indented ever deeper".to_owned(), lines(&|index| format!("{}a:\n", " ".repeat(index)))));
    made.push((
        "labels".to_owned(),
        [plan.as_bytes(), b"labels:\n", &filled("", " a: yes\n")[..200_000]].concat(),
    ));
    made.push((
        "approvers".to_owned(),
        filled("function: f\nalias: a\nsteps: [{approval: {approvers: [", "a1, "),
    ));
    let names = |count: usize| (0..count).map(|index| format!("a{index}")).collect::<Vec<_>>().join(", ");
    let steps = |step: &str| format!("function: f\nalias: a\nsteps: [1%, {step}, 100%]\n");
    let approval = steps(&format!("{{approval: {{approvers: [{}]}}}}", names(9_900)));
    made.push(("distinct approvers".to_owned(), approval.into_bytes()));
    let metrics: Vec<String> =
        (0..600).map(|index| format!("{{name: m{index}, webhook: {{url: 'http://a'}}, max: 1}}")).collect();
    let analysis = steps(&format!("{{analysis: {{metrics: [{}], for: 1m}}}}", names(3_000)));
    let undefined = format!("{analysis}analysis: {{metrics: [{}]}}\n", metrics.join(", "));
    made.push(("undefined metrics".to_owned(), undefined.into_bytes()));
    made.push(("no text at all".to_owned(), vec![0xff; BYTES_MAX]));
    made.push(("too large".to_owned(), vec![b'['; 8 * BYTES_MAX]));
    made
}

/// A plan that is in order and nearly as large as a plan may be: hundreds of metrics, and a step that waits for each.
fn honest_file() -> Vec<u8> {
    let query = "sum(rate(http_requests_total{code='500'}[1m])) ".repeat(6);
    let metrics: Vec<String> = (0..600)
        .map(|index| {
            format!("{{name: m{index}, prometheus: {{url: 'http://a', query: \"{query}\"}}, max: 1}}")
        })
        .collect();
    let names: Vec<String> = (0..600).map(|index| format!("m{index}")).collect();
    let text = format!(
        "function: f\nalias: a\nsteps: [1%, {{analysis: {{metrics: [{}], for: 1m}}}}, 100%]\n\
         analysis: {{metrics: [{}]}}\n",
        names.join(", "),
        metrics.join(", ")
    );
    assert!(text.len() <= BYTES_MAX && text.len() > BYTES_MAX * 3 / 4, "{}", text.len());
    text.into_bytes()
}

/// How long this thread has had a processor.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec to where one is.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "every thread has such a clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn hostile_files_are_answered_soon() {
    // What this thread takes of a processor, since other work on the machine takes time, too; and the best of a few runs,
    // since it takes caches. An honest file as large as a file may be is what all others are compared with.
    const RUNS_MAX: usize = 25;
    const TIMES_MAX: u32 = 5;
    let run = |source: &Source| {
        let began = processor_time();
        let answer = load(source, None);
        (processor_time() - began, answer)
    };
    let honest = Source::new("honest.yaml", honest_file());
    assert!(run(&honest).1.is_ok(), "{:?}", run(&honest).1.err());
    let usual = (0..RUNS_MAX).map(|_| run(&honest).0).min().expect("it ran");
    let limit = usual * TIMES_MAX;
    let mut slow = Vec::new();
    for (what, bytes) in hostile_files() {
        let source = Source::new("hostile.yaml", bytes);
        let (mut took, answer) = run(&source);
        for _ in 1..RUNS_MAX {
            if took > limit {
                took = took.min(run(&source).0);
            }
        }
        if took > limit {
            slow.push(format!("{what}: {took:?}, where an honest file takes {usual:?}"));
        }
        if let Err(faults) = answer {
            assert!(!faults.is_empty() && faults.len() <= 101, "{what}: {} faults", faults.len());
            for fault in faults.iter().take(3) {
                check_place(fault, std::slice::from_ref(&source));
            }
        }
    }
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}

/// The good and the bad plans of the repository: what to mutate.
fn corpus() -> Vec<Vec<u8>> {
    let paths = files("plans", "yaml").into_iter().chain(files("tests/plans/bad", "yaml"));
    let texts = paths.map(|path| std::fs::read(path).expect("a readable plan"));
    texts
        .filter(|bytes| bytes.len() < 4_000)
        .chain([include_bytes!("../../crates/core/src/plan/document/complete.yaml").to_vec()])
        .collect()
}

/// A piece cut out, a piece put in, or a byte changed.
#[derive(Clone, Debug)]
enum Mutation {
    Cut(prop::sample::Index, usize),
    Insert(prop::sample::Index, String),
    Change(prop::sample::Index, u8),
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

fn any_mutation() -> impl Strategy<Value = Mutation> {
    let pieces = [
        ":",
        " ",
        "\n",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "#",
        "&",
        "*",
        "!",
        "|",
        ">",
        "%",
        "@",
        "~",
        "null",
        "no",
        "0x1",
        "1_0",
        "-1",
        "3%",
        "5m",
        "pp",
        "none",
        "  ",
        "\t",
        "\r",
        "\0",
        "é",
        "🐦",
        "---\n",
        "<<: ",
        "? ",
        "99999999999999999999",
    ];
    prop_oneof![
        (any::<prop::sample::Index>(), 1usize..40).prop_map(|(at, length)| Mutation::Cut(at, length)),
        (any::<prop::sample::Index>(), prop::sample::select(pieces.to_vec()))
            .prop_map(|(at, piece)| Mutation::Insert(at, piece.to_owned())),
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Change(at, byte)),
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1usize..60)
            .prop_map(|(from, to, length)| Mutation::Copy(from, to, length)),
    ]
}

fn mutated(mut bytes: Vec<u8>, mutations: &[Mutation]) -> Vec<u8> {
    for mutation in mutations {
        if bytes.is_empty() {
            return bytes;
        }
        match mutation {
            Mutation::Cut(at, length) => {
                let start = at.index(bytes.len());
                let end = (start + length).min(bytes.len());
                bytes.drain(start..end);
            }
            Mutation::Insert(at, piece) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, piece.bytes());
            }
            Mutation::Change(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Mutation::Copy(from, to, length) => {
                let start = from.index(bytes.len());
                let piece = bytes[start..(start + length).min(bytes.len())].to_vec();
                let to = to.index(bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
    bytes
}

/// Whatever the bytes are: an answer, its faults at places that exist, and a drawing of them.
fn check_answer(bytes: Vec<u8>) {
    let source = Source::new("any.yaml", bytes);
    let sources = std::slice::from_ref(&source);
    used_defaults(&source);
    let mut answers = vec![check_defaults(&source)];
    answers.push(match load(&source, Some(&source)) {
        Ok(loaded) => loaded.warnings,
        Err(faults) => {
            assert!(!faults.is_empty());
            faults
        }
    });
    for faults in answers {
        for fault in &faults {
            check_place(fault, sources);
            assert!(!fault.message.is_empty());
        }
        let drawn = render(&faults, sources, false, 80);
        assert!(
            faults.iter().all(|fault| drawn.contains(&format!("any.yaml:{}:{}", fault.line, fault.column)))
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check_answer(bytes);
    }

    #[test]
    fn any_text_is_answered(text in "[\\PC\n\r\t]{0,200}") {
        check_answer(text.into_bytes());
    }

    #[test]
    fn mutated_plans_are_answered(
        plan in prop::sample::select(corpus()),
        mutations in prop::collection::vec(any_mutation(), 1..6),
    ) {
        check_answer(mutated(plan, &mutations));
    }
}
