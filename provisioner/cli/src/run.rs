//! The commands: from the command line to an exit code.
//!
//! One thread and one connection: the command waits for the control plane and for nothing else.

mod apply;
mod backup;
mod delete;
mod describe;
mod disk;
mod edit;
mod explain;
mod flush;
mod freezing;
mod get;
mod image;
mod job;
mod key;
mod leftover;
mod master;
mod opening;
pub mod password;
mod pool;
mod reports;
mod reset;
mod restore;
mod rows;
mod schedule;
mod small;
mod told;
mod volume;
mod wait;
mod watch;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser};
use mezame_model::{ProjectName, api::Kind};

use crate::{
    bundle::{Bundle, LocatedFault},
    client::Client,
    command::{Command, CommandLine},
    exit::Exit,
    failure::Failure,
    fault_report,
    kind_name::Name,
    screen::Screen,
    seed::envelope::DefaultProject,
    settings::{Environment, Settings},
};

/// Runs a command line and says how it ended.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => {
            // Help and version are results; anything else is a usage error.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            let _ = error.print();
            return exit.into();
        }
    };
    let screen = Screen::of_process(line.show.output, line.show.quiet, line.show.color);
    let exit = run(line, &screen).unwrap_or_else(|failure| {
        failure.show(&screen);
        failure.exit()
    });
    exit.into()
}

/// What every command works with.
struct Session<'screen> {
    client: Client,
    project: Option<ProjectName>,
    project_is_given: bool,
    screen: &'screen Screen,
    environment: Environment,
}

fn run(line: CommandLine, screen: &Screen) -> Result<Exit, Failure> {
    // What needs no server.
    match &line.command {
        Command::Explain(arguments) => return explain::run(arguments, screen),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut CommandLine::command(), "mezame", &mut script);
            screen.print(&String::from_utf8_lossy(&script))?;
            return Ok(Exit::Success);
        }
        Command::Man { folder } => {
            clap_mangen::generate_to(CommandLine::command(), folder)?;
            return Ok(Exit::Success);
        }
        Command::Version { client: true } => {
            screen.print(&format!("mezame {}\n", env!("CARGO_PKG_VERSION")))?;
            return Ok(Exit::Success);
        }
        _ => {}
    }
    let environment = Environment::of_process();
    let settings = Settings::gather(&line.connection, &environment)?;
    for warning in &settings.warnings {
        screen.say(&format!("mezame: warning: {warning}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let session = Session {
            client: Client::new(settings.client)?,
            project: settings.project,
            project_is_given: settings.project_is_given,
            screen,
            environment,
        };
        session.run(line.command).await
    })
}

impl Session<'_> {
    async fn run(&self, command: Command) -> Result<Exit, Failure> {
        match command {
            Command::Apply(arguments) => apply::run(self, arguments).await,
            Command::Get(arguments) => get::run(self, arguments).await,
            Command::Describe(arguments) => describe::run(self, arguments).await,
            Command::Delete(arguments) => delete::run(self, arguments).await,
            Command::Edit(arguments) => edit::run(self, arguments).await,
            Command::Reports(arguments) => reports::run(self, arguments).await,
            Command::Disk(arguments) => disk::run(self, arguments).await,
            Command::Watch(arguments) => watch::run(self, arguments).await,
            Command::Wait(arguments) => wait::run(self, arguments).await,
            Command::Reset(command) => reset::run(self, command).await,
            Command::Port(command) => small::port(self, command).await,
            Command::Key(command) => key::run(self, command).await,
            Command::Image(command) => image::run(self, command).await,
            Command::Job(command) => job::run(self, command).await,
            Command::Volume(command) => volume::run(self, command).await,
            Command::Backup(command) => backup::run(self, command).await,
            Command::Keys(command) => small::keys(self, command).await,
            Command::Certificate => small::certificate(self).await,
            Command::Whoami => small::whoami(self).await,
            Command::Version { .. } => small::version(self).await,
            // Were run before a session was made.
            Command::Explain(_) | Command::Completion { .. } | Command::Man { .. } => {
                Ok(Exit::Success)
            }
        }
    }

    /// The project that things are looked for in.
    fn project(&self) -> Result<&ProjectName, Failure> {
        self.project.as_ref().ok_or(Failure::NoProject)
    }

    /// A thing that the command line names.
    fn name(&self, kind: Kind, name: &str) -> Result<Name, Failure> {
        let project = match kind {
            Kind::Project => None,
            _ => Some(self.project()?.clone()),
        };
        Ok(Name::new(kind, project, name)?)
    }

    /// The project that documents without one are in.
    fn default_project(&self) -> DefaultProject {
        DefaultProject {
            name: self.project.as_ref().map(ToString::to_string),
            is_strict: self.project_is_given,
        }
    }

    /// Shows faults: to programs as data, to people as a compiler does.
    fn show_faults(&self, faults: &[LocatedFault]) -> Result<Exit, Failure> {
        if self.screen.is_data() {
            self.screen.print_value(&fault_report::to_value(faults))?;
        } else {
            self.screen.complain(&fault_report::render(faults, self.screen.message_color));
        }
        Ok(Exit::Faults)
    }

    /// The documents of `-f`, or how the command ends if they can't be used.
    fn load(&self, files: &[String], recursive: bool) -> Result<Result<Bundle, Exit>, Failure> {
        if files.is_empty() {
            return Err(Failure::NoSeed);
        }
        let bundle = Bundle::load(files, recursive, &self.default_project())?;
        if bundle.faults().is_empty() {
            Ok(Ok(bundle))
        } else {
            self.show_faults(bundle.faults()).map(Err)
        }
    }
}
