//! Plans, and behind a zero byte the defaults they use.

use serin_core::plan::{Source, check_defaults, is_defaults, load, resolved_yaml, used_defaults};

/// A plan that is taken is written as YAML that gives the same plan; one that is not is refused at places that exist.
pub(super) fn run(data: &[u8]) {
    let (plan, defaults) = super::halves(data, 0);
    let plan = Source::new("plan.yaml", plan);
    let defaults = Source::new("base.yaml", defaults);
    let _ = (is_defaults(&plan), check_defaults(&defaults));
    let used = used_defaults(&plan).map(|_| &defaults);
    match load(&plan, used) {
        Ok(read) => {
            let written = resolved_yaml(&read.plan);
            let again = load(&Source::new("again.yaml", written.as_bytes()), None);
            let again = again.unwrap_or_else(|faults| panic!("{faults:?}\n{written}"));
            assert_eq!(again.plan, read.plan, "{written}");
            assert_eq!(resolved_yaml(&again.plan), written);
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            for fault in faults {
                let source = if fault.file == plan.name { &plan } else { &defaults };
                let lines = source.bytes.split(|byte| *byte == b'\n').count();
                let line = usize::try_from(fault.line).expect("a line");
                assert!((1..=lines + 1).contains(&line), "{fault} of {lines} lines");
                assert!(!fault.message.is_empty());
            }
        }
    }
}
