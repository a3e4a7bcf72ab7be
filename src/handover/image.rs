//! Which program is started to take over: the one that is installed now, or the one that runs.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The running program's own file, even where another one has been put in its place since.
const RUNNING: &str = "/proc/self/exe";

/// A program and the arguments that this process was started with.
#[derive(Clone, Debug)]
pub struct Image {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Image {
    /// What lies where this process was started from; to be asked for before the working directory can change.
    ///
    /// A path is kept as it was typed, links and all: whoever points `current` at the next release means that. A name
    /// without a path is looked for in `search`, as the shell did.
    pub fn installed(search: &[PathBuf]) -> Image {
        let mut args = std::env::args_os();
        let typed = PathBuf::from(args.next().unwrap_or_default());
        let is_path = typed.parent().is_some_and(|parent| !parent.as_os_str().is_empty());
        let found = if is_path {
            std::path::absolute(&typed).ok()
        } else {
            search.iter().map(|directory| directory.join(&typed)).find(|path| path.is_file())
        };
        let program = found.or_else(|| std::env::current_exe().ok()).unwrap_or_else(|| RUNNING.into());
        Image { program, args: args.collect() }
    }

    /// The program that runs, with the same name and arguments.
    pub fn running(&self) -> Image {
        Image { program: RUNNING.into(), args: self.args.clone() }
    }

    /// Another program with other arguments.
    pub fn of(program: &Path, args: impl IntoIterator<Item = OsString>) -> Image {
        Image { program: program.to_owned(), args: args.into_iter().collect() }
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command that starts it, under the name that `installed` of its own will find the program by.
    pub(super) fn command(&self, name: &Image) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0(&name.program).args(&self.args);
        command
    }
}
