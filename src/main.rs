//! serin: what is typed is read, done, and answered with an exit code that scripts can trust.

use std::process::ExitCode;

fn main() -> ExitCode {
    serin::cli::run(std::env::args_os())
}
