//! The demonstration, as a newcomer runs it.

use crate::support::serin::serin;

#[test]
fn the_demonstration_ends_as_it_is_told() {
    let done = serin(&["demo"]).done();
    assert_eq!(done.err, "");
    let said = done.out;
    for words in ["checkout v2  Succeeded after", "checkout v3  RolledBack after", "bake served, proven"] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    let figure = |label: &str| -> String {
        let line = said.lines().find(|line| line.trim_start().starts_with(label));
        let line = line.unwrap_or_else(|| panic!("{label:?} is not in {said}"));
        line.trim_start().trim_start_matches(label).trim().to_owned()
    };
    let number = |label: &str| -> u64 { figure(label).replace([',', '~'], "").parse().unwrap() };
    let (served, bad) = (number("requests served"), number("of them from the bad version 3"));
    assert!(served > 5_000, "{served}");
    // Ten would be a canary that fails a fifth of its requests and is left alone for fifty of them.
    assert!((1..=10).contains(&bad), "{bad} failures until the rollback");
    assert!(number("failed requests users saw") >= bad);
    assert!(number("a threshold checked every minute lets fail") > 10 * bad);
    assert!(!figure("its first failure to weight 0").is_empty());
    let wide: Vec<&str> = said.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "wider than the terminal: {wide:#?}");
}
