//! What an update of evidence may not cost: an allocation.

#[path = "../../benches/support/looks.rs"]
mod looks;

use looks::updates;

use crate::support::allocations::so_far;

/// So many looks make lists as long as they get, tables of two minutes among them.
const WARM: u64 = 2_000;

#[test]
fn no_update_of_evidence_allocates() {
    for analysis in ["", "latency: none", "latency: {p99Max: 1s}, failures: {max: 50%}", "proof: none"] {
        let (mut look, mut allocations) = (0, Vec::new());
        updates(analysis, 12_000, |update| {
            let before = so_far();
            update();
            let more = so_far() - before;
            look += 1;
            if more > 0 && look > WARM {
                allocations.push((look, more));
            }
        });
        assert_eq!(look, 12_000);
        assert!(allocations.is_empty(), "{analysis:?}: {allocations:?}");
    }
}

#[test]
fn what_allocates_is_counted() {
    let before = so_far();
    drop(std::hint::black_box(Box::new(7)));
    assert!(so_far() > before);
}
