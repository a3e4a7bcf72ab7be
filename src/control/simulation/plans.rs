//! The plans of a simulation.

use std::collections::BTreeMap;
use std::sync::Arc;

use serin_core::plan::Source;
use serin_core::world::plans::{PlanBook, PlanFile, ReadPlan, read_plan};

/// Plans of every kind that decides by itself, by people, by what is outside, by traffic and by the calendar.
pub(super) const PLANS: [(&str, &str); 8] = [
    ("quick", "function: a\nalias: live\nsteps: [10%, 50%, 100%]\nanalysis: none\nbake: 5m\n"),
    (
        "proven",
        "function: a\nalias: live\nsteps: [5%, 50%, 100%]\nbake: 10m\nonFailure: pause\nmaxExposure: {failures: 40}\n",
    ),
    (
        "people",
        "function: a\nalias: live\nsteps: [pause: {}, 20%, pause: {}, 60%, approval: {approvers: [ana, bo], minApprovers: 2, timeout: 2h}, 100%]\n\
         bake: 1m\nanalysis: {proof: none}\nonDrift: restore\nonNewVersion: reject\n",
    ),
    (
        "outside",
        "function: b\nalias: live\nbake: 2m\nstepDeadline: {after: 12h, then: rollback}\nonNewVersion: replace\n\
         steps: [webhook: {url: 'http://127.0.0.1:1/smoke', retries: 2}, 10%, analysis: {metrics: [queue-age], for: 30m}, 100%]\n\
         analysis:\n  proof: none\n  metrics:\n  - {name: queue-age, webhook: {url: 'http://127.0.0.1:1/age'}, max: 10, interval: 10m, failureLimit: 1, inconclusiveLimit: 2}\n",
    ),
    (
        "published",
        "function: b\nalias: live\nstart: onPublish\nsteps: [25%, 100%]\nbake: 30m\nanalysis: {proof: none}\nonDrift: adopt\n",
    ),
    (
        "daily",
        "function: a\nalias: staging\nstart: {cron: '0 9 * * *'}\nsteps: [30%, 60%, 100%]\nbake: 1h\nanalysis: {proof: none}\n\
         onDrift: leave\nonFailure: report\nwatch: {for: 1h}\nwindows: {allow: [{days: MON-SUN, from: '08:00', to: '17:00'}]}\n",
    ),
    (
        "after",
        "function: a\nalias: live\nstart: {after: {target: 'a:staging', for: 2h}}\nsteps: [40%, 100%]\nbake: 10m\nanalysis: {proof: none}\n",
    ),
    ("straight", "function: a\nalias: staging\nsteps: [100%]\nanalysis: none\n"),
];
/// The plans as they are read, but for those that are broken or not there.
pub(super) fn book(odd: &BTreeMap<usize, bool>) -> PlanBook {
    let mut files = BTreeMap::new();
    for (number, (name, text)) in PLANS.iter().enumerate() {
        let is_broken = match odd.get(&number) {
            Some(false) => continue,
            Some(true) => true,
            None => false,
        };
        let text = if is_broken { "steps: [3, 100%]\n" } else { text };
        let source = Source::new(format!("{name}.yaml"), text.as_bytes().to_vec());
        let read: Result<ReadPlan, _> = read_plan(name, &source, None);
        let (read, faults) = match read {
            Ok(read) => (Some(Arc::new(read)), Vec::new()),
            Err(faults) if is_broken => (None, faults),
            Err(faults) => panic!("plan {name}: {}", faults[0]),
        };
        let file = PlanFile {
            name: (*name).to_owned(),
            source,
            defaults: None,
            read,
            is_defaults: false,
            faults,
            problem: None,
        };
        files.insert((*name).to_owned(), file);
    }
    PlanBook { directory: Some("plans".to_owned()), problem: None, files }
}
