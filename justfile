# The one entry for people: `just` lists what can be done. Each line is a command that works without `just` as well.

_list:
    @just --list --unsorted

# a rollout to look at, on this machine
demo:
    cargo run --release -- demo

# what needs nothing installed; `just unit plan::` for a part
unit *names:
    cargo test --lib -- {{names}}

# the integration tests; `just integration rollouts::` for a folder
integration *names:
    cargo test --test integration -- {{names}}

# everything that must hold before a change goes in
test:
    scripts/test

# what takes longer: soaks, big samples, the mutants of our protections
test-long:
    scripts/test-long

# form and lints
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo deny check bans licenses sources

# golden files anew; read the difference before you commit it
bless:
    SERIN_BLESS=1 INSTA_UPDATE=always cargo test

# what a request costs beside nginx and HAProxy
bench-router *flags:
    scripts/bench-router {{flags}}

# what the evidence reaches on traffic as it comes
bench-evidence *flags:
    scripts/bench-evidence {{flags}}
