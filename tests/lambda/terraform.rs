//! The acceptance tests of Terraform's provider, by its calls (`terraform/`), on the real binary with queues that are there.

use crate::lambda::conformance::python;
use crate::support::serin::Daemon;
use crate::support::sqs::Sqs;

#[test]
#[ignore = "needs boto3 and moto from PyPI; scripts/test installs them and runs this"]
fn the_calls_of_the_providers_acceptance_tests_leave_nothing_to_plan() {
    let (sqs, dir) = (Sqs::start(), tempfile::tempdir().unwrap());
    let daemon = Daemon::start(dir.path(), &["--sqs-endpoint", &sqs.url]);
    let said = python("terraform", &["--endpoint", &daemon.url(), "--sqs", &sqs.url]);
    let score = said.lines().last().unwrap();
    let numbers: Vec<usize> = score.split([' ', ';', ',']).filter_map(|word| word.parse().ok()).collect();
    let [whole, played, checks, failed] = numbers[..] else { panic!("another score: {score}") };
    assert_eq!((whole, failed), (played, 0));
    assert!(played >= 64 && checks >= 1900, "fewer than there were: {score}");
    daemon.stop();
}
