//! What is drawn, against golden files that were read as somebody who was just woken up would read them.

use std::path::Path;

use serin::api::wire::Explanation;
use serin::cli::render::Look;
use serin::cli::render::explanation::explanation;
use serin::cli::render::list::{Overview, overview};
use serin::cli::render::picture::picture;
use serin_core::model::time::Timestamp;

use super::scenes;
use crate::support::golden;

fn look(width: usize) -> Look {
    Look {
        width,
        wrap: true,
        color: false,
        unicode: true,
        zone: jiff::tz::TimeZone::get("Europe/Berlin").unwrap(),
        now: Timestamp::parse("2026-11-22T02:12:00.000Z").unwrap(),
    }
}

/// Checks texts against `tests/cli/golden/{name}.txt`, all of them before any is complained about.
#[track_caller]
fn check(texts: &[(&str, String)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden");
    let differ: Vec<String> = texts
        .iter()
        .filter_map(|(name, text)| golden(&folder.join(format!("{name}.txt")), text).err())
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

fn drawn(scene: &Explanation, look: &Look) -> String {
    look.print(&picture(scene, look))
}

#[test]
fn the_picture_is_the_one_that_was_promised() {
    let promised = "\
checkout:live  v41 → v42   PROGRESSING, waiting for proof           rollout 7f3a
traffic   v41 95% ███████████████████████████████████████░░ 5% v42   (~5 req/s)
steps     ✓ 3%   ▶ 5% (2 of 3)   · 100%
next      100% needs:  ✓ bake 5m   ✗ proof   ✓ window
          ~135 more clean canary requests, ~27 s; 23h58m left, then pause
at 5%      requests  failed    rate   p50    p99
  v41         7,828       8   0.10%  12ms   88ms
  v42           412       0   0.00%  12ms   90ms
ratio     v42 fails at most 3.2 times as often as v41
rollback  ░░░░░░░░░░   0%   armed: ~3 failures in a row away
proof     ███████▌░░  75%   at most 0.5 points worse at 100%
03:11:40  serin  3% → 5%: proven, bake served
03:10:36  ana    started: \"PAY-811\"
do   serin rollback checkout:live
";
    let is = drawn(&scenes::waiting_for_proof(), &look(80));
    assert_eq!(is, promised, "\n{is}");
}

#[test]
fn pictures() {
    let wide = look(80);
    check(&[
        ("proof", drawn(&scenes::as_the_daemon_words_it(), &wide)),
        ("proof-60-columns", drawn(&scenes::as_the_daemon_words_it(), &look(60))),
        ("proof-120-columns", drawn(&scenes::as_the_daemon_words_it(), &look(120))),
        ("proof-ascii", drawn(&scenes::as_the_daemon_words_it(), &Look { unicode: false, ..wide.clone() })),
        ("queued", drawn(&scenes::queued(), &wide)),
        ("window", drawn(&scenes::outside_its_window(), &wide)),
        ("drift", drawn(&scenes::drifted(), &wide)),
        ("drift-60-columns", drawn(&scenes::drifted(), &look(60))),
        ("approval", drawn(&scenes::waiting_for_approval(), &wide)),
        ("harm", drawn(&scenes::paused_for_harm(), &wide)),
        ("harm-ascii", drawn(&scenes::paused_for_harm(), &Look { unicode: false, ..wide.clone() })),
        ("rolled-back", drawn(&scenes::rolled_back(), &wide)),
        ("succeeded", drawn(&scenes::succeeded(), &wide)),
        ("many-steps", drawn(&scenes::with_many_steps(), &wide)),
        ("many-steps-60-columns", drawn(&scenes::with_many_steps(), &look(60))),
    ]);
}

#[test]
fn explanations() {
    let wide = look(80);
    let told = |scene: &Explanation, look: &Look| look.print(&explanation(scene, look));
    check(&[
        ("explain-proof", told(&scenes::as_the_daemon_words_it(), &wide)),
        (
            "explain-proof-ascii",
            told(&scenes::as_the_daemon_words_it(), &Look { unicode: false, ..look(60) }),
        ),
        ("explain-queued", told(&scenes::queued(), &wide)),
        ("explain-window", told(&scenes::outside_its_window(), &wide)),
        ("explain-drift", told(&scenes::drifted(), &wide)),
        ("explain-approval", told(&scenes::waiting_for_approval(), &wide)),
        ("explain-harm", told(&scenes::paused_for_harm(), &wide)),
        ("explain-rolled-back", told(&scenes::rolled_back(), &wide)),
        ("explain-succeeded", told(&scenes::succeeded(), &wide)),
    ]);
}

#[test]
fn lists() {
    let wide = look(80);
    let live = [scenes::as_the_daemon_words_it().status, scenes::drifted().status, scenes::queued().status];
    let ended = [scenes::rolled_back().status, scenes::succeeded().status];
    let faults = [
        "plans/refunds.yaml:3:8: 3 has no unit; did you mean 3%? (and 2 more)".to_owned(),
        "plans/x.yaml is a link that leads out of the plans directory".to_owned(),
    ];
    let full = Overview { live: &live, ended: &ended, plan_faults: &faults };
    let over = Overview { live: &[], ended: &ended, plan_faults: &[] };
    let empty = Overview { live: &[], ended: &[], plan_faults: &[] };
    check(&[
        ("list", overview(&full, &wide)),
        ("list-60-columns", overview(&full, &look(60))),
        ("list-120-columns", overview(&full, &look(120))),
        ("list-ascii", overview(&full, &Look { unicode: false, ..wide.clone() })),
        ("list-ended", overview(&over, &wide)),
        ("list-empty", overview(&empty, &wide)),
    ]);
}

#[test]
fn nothing_is_wider_than_the_terminal_and_ascii_is_ascii() {
    let scenes = [
        scenes::as_the_daemon_words_it(),
        scenes::queued(),
        scenes::drifted(),
        scenes::waiting_for_approval(),
        scenes::paused_for_harm(),
        scenes::rolled_back(),
        scenes::succeeded(),
        scenes::with_many_steps(),
    ];
    for width in [60, 72, 80, 100, 200] {
        let look = Look { unicode: false, ..look(width) };
        for scene in &scenes {
            let text = drawn(scene, &look) + &look.print(&explanation(scene, &look));
            assert!(text.is_ascii(), "{text}");
            for line in text.lines() {
                assert!(line.len() <= width, "{width}: {line}");
                assert_eq!(line, line.trim_end());
            }
        }
    }
}

#[test]
fn color_changes_no_character() {
    let (plain, colored) = (look(80), Look { color: true, ..look(80) });
    for scene in [scenes::paused_for_harm(), scenes::drifted(), scenes::succeeded()] {
        let text = drawn(&scene, &colored);
        assert!(text.contains("\u{1b}["));
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), drawn(&scene, &plain));
    }
}

#[test]
fn what_others_wrote_cannot_paint_the_terminal() {
    let mut scene = scenes::paused_for_harm();
    scene.recent_failures[0].path = "/\u{1b}[2J\u{202e}x".to_owned();
    scene.history[0].reason = Some("line\nbreak\u{7}".to_owned());
    let text = drawn(&scene, &look(80));
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}') && !text.contains('\u{7}'), "{text}");
    assert!(text.contains("\"line") && text.contains("break?\""), "{text}");
}
