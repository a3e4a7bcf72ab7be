//! Whether this machine can run a runtime, and by which command.
//!
//! Python and Node.js functions run through AWS's own runtime interface clients, `awslambdaric` and `aws-lambda-ric`,
//! with an interpreter of exactly the version that the runtime names. What is found is remembered; what is missing is
//! looked for again.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::sandbox::sample_of;
use crate::config::ProcessUser;
use serin_core::lambda::process::{Architecture, Runtime};

/// Why this machine cannot run a runtime.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The interpreter is not there.
    #[error(
        "{runtime} needs {program}, which is in none of the directories serin looks in; install it, or name its \
         directory with --runtime-path"
    )]
    NoInterpreter {
        /// The runtime.
        runtime: Runtime,
        /// What is looked for.
        program: String,
    },
    /// AWS's client is not there.
    #[error("{runtime} needs AWS's runtime interface client for {program}; {install} ({said})")]
    NoClient {
        /// The runtime.
        runtime: Runtime,
        /// The interpreter.
        program: String,
        /// What to type.
        install: String,
        /// What the interpreter said.
        said: String,
    },
    /// The code is for another processor.
    #[error("the code is made for {wanted}, and this machine is {here}")]
    Architecture {
        /// What it is made for.
        wanted: Architecture,
        /// What this machine is.
        here: &'static str,
    },
}

/// The command that runs a function's code; the handler follows where it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Launcher {
    /// The code's own `bootstrap`.
    Bootstrap,
    /// A program and its arguments, before the handler.
    Interpreter(PathBuf, Vec<OsString>),
}

/// What was found on this machine.
pub(super) struct Availability {
    search: Vec<PathBuf>,
    user: ProcessUser,
    found: Mutex<HashMap<Runtime, Launcher>>,
}

impl Availability {
    pub(super) fn new(search: Vec<PathBuf>, user: ProcessUser) -> Availability {
        Availability { search, user, found: Mutex::default() }
    }

    /// The command for a runtime; runs the interpreter to ask for its client, the first time.
    pub(super) fn launcher(&self, runtime: Runtime, wanted: Architecture) -> Result<Launcher, Why> {
        let here = std::env::consts::ARCH;
        let is_ours =
            matches!((wanted, here), (Architecture::X86_64, "x86_64") | (Architecture::Arm64, "aarch64"));
        // Interpreted code runs anywhere.
        let is_interpreted = matches!(runtime, Runtime::Python(_) | Runtime::Node(_));
        if !is_ours && !is_interpreted {
            return Err(Why::Architecture { wanted, here });
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(launcher) = found.get(&runtime) {
            return Ok(launcher.clone());
        }
        let launcher = match runtime {
            Runtime::ProvidedAl2 | Runtime::ProvidedAl2023 => Launcher::Bootstrap,
            Runtime::Python(minor) => self.python(runtime, minor)?,
            Runtime::Node(major) => self.node(runtime, major)?,
        };
        found.insert(runtime, launcher.clone());
        Ok(launcher)
    }

    fn python(&self, runtime: Runtime, minor: u8) -> Result<Launcher, Why> {
        let name = format!("python3.{minor}");
        let mut said = None;
        for program in self.programs(&name) {
            match self.ask(&program, &["-c", "import sys, awslambdaric; print(sys.version_info[1])"]) {
                Ok(answer) if answer.trim() == minor.to_string() => {
                    return Ok(Launcher::Interpreter(program, vec!["-m".into(), "awslambdaric".into()]));
                }
                Ok(answer) => said = Some((program, format!("it is 3.{}", answer.trim()))),
                Err(why) => said = Some((program, why)),
            }
        }
        Err(match said {
            None => Why::NoInterpreter { runtime, program: name },
            Some((program, said)) => {
                let program = program.display().to_string();
                let install = format!("install it with {program} -m pip install awslambdaric");
                Why::NoClient { runtime, program, install, said }
            }
        })
    }

    fn node(&self, runtime: Runtime, major: u8) -> Result<Launcher, Why> {
        let is_it = |program: &PathBuf| {
            let version = self.ask(program, &["--version"]).unwrap_or_default();
            version.trim().strip_prefix('v').and_then(|version| version.split('.').next())
                == Some(major.to_string().as_str())
        };
        let no_node = || Why::NoInterpreter { runtime, program: format!("node {major}") };
        let program = self.programs("node").find(is_it).ok_or_else(no_node)?;
        let client = self.programs("aws-lambda-ric").find_map(|client| client.canonicalize().ok());
        let client = client.ok_or_else(|| Why::NoClient {
            runtime,
            program: program.display().to_string(),
            install: "install it with npm install -g aws-lambda-ric".to_owned(),
            said: "there is no aws-lambda-ric".to_owned(),
        })?;
        Ok(Launcher::Interpreter(program, vec![client.into()]))
    }

    fn programs(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        self.search.iter().map(move |place| place.join(name)).filter(|path| path.is_file())
    }

    /// What a program answers, run as the user that functions run as; else what it complains of.
    fn ask(&self, program: &Path, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().current_dir("/").stdin(Stdio::null());
        if let Some(id) = sample_of(self.user) {
            command.uid(id).gid(id);
        }
        let output = command.output().map_err(|why: io::Error| why.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(said.lines().last().unwrap_or("it said nothing").to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let empty = tempfile::tempdir().unwrap();
        let nothing = Availability::new(vec![empty.path().to_owned()], ProcessUser::Same);
        let x86 = Architecture::X86_64;
        let why = nothing.launcher(Runtime::Python(12), x86).unwrap_err().to_string();
        assert!(why.starts_with("python3.12 needs python3.12, which is in none"), "{why}");
        let why = nothing.launcher(Runtime::Node(22), x86).unwrap_err().to_string();
        assert!(why.starts_with("nodejs22.x needs node 22, which"), "{why}");
        std::os::unix::fs::symlink("/bin/false", empty.path().join("python3.12")).unwrap();
        let why = nothing.launcher(Runtime::Python(12), x86).unwrap_err().to_string();
        assert!(why.contains("-m pip install awslambdaric"), "{why}");
        let (here, other) = match std::env::consts::ARCH {
            "aarch64" => (Architecture::Arm64, Architecture::X86_64),
            _ => (Architecture::X86_64, Architecture::Arm64),
        };
        assert_eq!(nothing.launcher(Runtime::ProvidedAl2023, here), Ok(Launcher::Bootstrap));
        assert!(nothing.launcher(Runtime::ProvidedAl2023, other).is_err());
    }
}
