//! Why a command failed: what is shown, how it is mended, and the exit code.

use std::{error::Error, fmt::Write, io, path::PathBuf};

use mezame_model::{
    IdError,
    api::{
        Fault,
        jobs::{Job, JobKind, JobState},
    },
};

use crate::{
    client::{error::ClientError, trust::TrustError},
    exit::Exit,
    kind_name::Name,
    screen::{Paint, Screen, paint},
    seed::source::SourceError,
    settings::SettingsError,
    text,
};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A call to the control plane.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A call about one thing.
    #[error("{name}")]
    About {
        /// What it was about.
        name: Box<Name>,
        /// What went wrong.
        #[source]
        source: ClientError,
    },
    /// The seeds can't be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A name on the command line.
    #[error(transparent)]
    Name(#[from] IdError),
    /// A kind on the command line.
    #[error(transparent)]
    Kind(#[from] crate::kind_name::KindError),
    /// A command about things of a project, without one.
    #[error("no project was chosen")]
    NoProject,
    /// `apply` without `-f`.
    #[error("no seed was given")]
    NoSeed,
    /// `--if-revision` with other than one document.
    #[error("--if-revision is for a single document, and there are {documents}")]
    NotOneDocument {
        /// How many there are.
        documents: usize,
    },
    /// `get password` without an instance.
    #[error("no instance was named")]
    NoInstance,
    /// `explain` of what there is not.
    #[error("there is no field {path:?} of {kind}")]
    NoField {
        /// Which kind.
        kind: &'static str,
        /// What was asked for.
        path: String,
    },
    /// `reset password` without a user, where not just one is meant.
    #[error("the guest of {name} makes {}", match users.as_slice() {
        [] => "no password".to_owned(),
        users => format!("passwords of {}", users.join(", ")),
    })]
    WhosePassword {
        /// The instance.
        name: Box<Name>,
        /// Whose passwords its guest makes.
        users: Vec<String>,
    },
    /// No password was posted.
    #[error("{name} has no password{}", user.as_ref().map(|u| format!(" of {u}")).unwrap_or_default())]
    NoPassword {
        /// The instance.
        name: Box<Name>,
        /// Whose, if one was asked for.
        user: Option<String>,
    },
    /// An SSH key can't be used.
    #[error("the key {path} can't be used")]
    Identity {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: crate::run::password::IdentityError,
    },
    /// No key was given, and there is none in its usual place.
    #[error("no SSH key was given, and there is none in ~/.ssh")]
    NoIdentity,
    /// No key opens the password.
    #[error("{user}'s password can't be opened: it is sealed to {recipient}")]
    Sealed {
        /// Whose.
        user: String,
        /// The public key.
        recipient: String,
        /// Why.
        #[source]
        source: age::DecryptError,
    },
    /// The editor.
    #[error("the editor {editor:?} failed")]
    Editor {
        /// What was started.
        editor: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something is where a disk was to be written.
    #[error("{path} is there already{}", if *.is_file { "" } else { ", and is no file" })]
    OutputThere {
        /// Where.
        path: PathBuf,
        /// Whether it is a file, which can be replaced.
        is_file: bool,
    },
    /// A disk can't be written.
    #[error("{path} can't be written")]
    Output {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A key's file can't be read.
    #[error("the key {path} can't be read")]
    KeyFile {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No key can be made.
    #[error("the system gives no random bytes")]
    Random(#[source] io::Error),
    /// A disk was to be written to a terminal.
    #[error("a disk's image is nothing to be shown on a terminal")]
    Terminal,
    /// No image has this name.
    #[error("the project {project} sees no image {name:?}")]
    NoImage {
        /// What was asked for.
        name: String,
        /// Where.
        project: String,
    },
    /// Several images have this name.
    #[error("several images are called {name:?}: {}", ids.join(", "))]
    SeveralImages {
        /// What was asked for.
        name: String,
        /// Which have it.
        ids: Vec<String>,
    },
    /// An image that is to be forgotten is named by its id alone.
    #[error("{given:?} is no image's id")]
    NoImageId {
        /// What was given.
        given: String,
    },
    /// A file that is to be imported can't be read.
    #[error("{path} can't be read")]
    ImageFile {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The form of a file is not said.
    #[error("the name of {path} does not say which form it has")]
    ImageForm {
        /// Which one.
        path: PathBuf,
    },
    /// An image was to be written to a terminal.
    #[error("an image is nothing to be shown on a terminal")]
    ImageTerminal,
    /// The keys of an encrypted volume are nothing to be printed.
    #[error("the volume {volume} is encrypted")]
    NoSecretsFolder {
        /// Which one.
        volume: String,
    },
    /// An image could not be read out to its end.
    #[error("{id} can't be read at {at} of its {size} bytes")]
    ImageUnread {
        /// Which.
        id: String,
        /// How much of it came.
        at: u64,
        /// Its length.
        size: u64,
        /// Why, as far as that is told.
        #[source]
        source: Box<ClientError>,
    },
    /// A signal ended a command that leaves nothing half done.
    #[error("ended by a signal; nothing is left of it")]
    Signal,
    /// Some of the backups that were to be deleted are still there.
    #[error("{} backups could not be deleted", .0.len())]
    Pruned(Vec<Fault>),
    /// Long work did not do what it was asked, or found damage.
    #[error("{} {} {}", .0.what.as_str(), .0.id, .0.state.as_str())]
    Job(Box<Job>),
    /// Standard output, or a file that was to be written.
    #[error("can't write")]
    Write(#[from] io::Error),
}

impl Failure {
    /// How the command ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Client(error) | Self::About { source: error, .. } => error.exit(),
            Self::Settings(_)
            | Self::Source(_)
            | Self::Name(_)
            | Self::Kind(_)
            | Self::NoProject
            | Self::NoSeed
            | Self::NotOneDocument { .. }
            | Self::NoInstance
            | Self::WhosePassword { .. }
            | Self::NoField { .. }
            | Self::NoIdentity
            | Self::OutputThere { .. }
            | Self::SeveralImages { .. }
            | Self::NoImageId { .. }
            | Self::ImageForm { .. }
            | Self::ImageTerminal
            | Self::NoSecretsFolder { .. }
            | Self::Terminal => Exit::Usage,
            Self::NoPassword { .. } | Self::NoImage { .. } => Exit::NotFound,
            // What was sent is at fault, as where the archive says so at once.
            Self::Job(job) if job.faults.iter().any(|fault| is_of_import(job, fault)) => {
                Exit::Faults
            }
            // Whoever read the results has had enough of them.
            Self::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
            Self::Identity { .. }
            | Self::KeyFile { .. }
            | Self::Random(_)
            | Self::Sealed { .. }
            | Self::Editor { .. }
            | Self::Output { .. }
            | Self::ImageFile { .. }
            | Self::ImageUnread { .. }
            | Self::Signal
            | Self::Pruned(_)
            | Self::Job(_)
            | Self::Write(_) => Exit::Failure,
        }
    }

    /// What the operator can do about it.
    pub fn mend(&self) -> Option<String> {
        let text = match self {
            Self::Client(error) | Self::About { source: error, .. } => return error.mend(),
            Self::NoProject => "name it with -p PROJECT or MEZAME_PROJECT",
            Self::NoSeed => "name a file or a folder with -f, or - for standard input",
            Self::NotOneDocument { .. } => "apply the documents one by one, or leave it out",
            Self::NoInstance => "write 'mezame get password INSTANCE'",
            Self::NoField { .. } => "'mezame explain KIND' lists the fields",
            Self::WhosePassword { users, .. } if users.is_empty() => {
                "it makes those of users with 'password: {generate: true}' in the document"
            }
            Self::WhosePassword { .. } => "name one with --user",
            Self::NoPassword { .. } => {
                "a password is made where a user has 'password: {generate: true}', once its guest \
                 has run the agent: 'mezame reports INSTANCE'"
            }
            Self::NoIdentity => "name the private key with --identity",
            Self::Sealed { source: age::DecryptError::KeyDecryptionFailed, .. } => {
                "the key's passphrase was not right; try again"
            }
            Self::Sealed { .. } => {
                "name the private key of that public key with --identity; one with a passphrase \
                 needs a terminal to ask on"
            }
            Self::Editor { .. } => "set EDITOR to an editor that is installed",
            Self::OutputThere { is_file: true, .. } => "--force replaces it",
            Self::OutputThere { .. } => "name a file; 'dd' puts its image onto a device",
            Self::NoImage { .. } => "'mezame image list' shows what there is",
            Self::SeveralImages { .. } => "name one by its id",
            Self::NoImageId { .. } => "'mezame image archive images' shows them",
            Self::ImageUnread { .. } => {
                "'mezame image verify' tells whether it is damaged; else try again"
            }
            Self::ImageForm { .. } => "say it with --format raw, qcow2, vmdk or vhdx",
            Self::NoSecretsFolder { .. } => "name a folder for its keys with --secrets-dir",
            Self::ImageTerminal => "name a file, or send it to a program",
            Self::Terminal => "name a file with --to, or send it to a program",
            Self::Settings(SettingsError::Form { .. }) => {
                "'mezame --help' shows the settings file's form"
            }
            Self::Settings(_)
            | Self::Source(_)
            | Self::Name(_)
            | Self::Kind(_)
            | Self::Identity { .. }
            | Self::KeyFile { .. }
            | Self::Random(_)
            | Self::Output { .. }
            | Self::ImageFile { .. }
            | Self::Signal
            | Self::Pruned(_)
            | Self::Job(_)
            | Self::Write(_) => return None,
        };
        Some(text.into())
    }

    /// Shows it: the chain of causes, the faults the control plane named, the mend.
    pub fn show(&self, screen: &Screen) {
        if matches!(self, Self::Write(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return;
        }
        let color = screen.message_color;
        let mut out = format!("{} {}", paint(color, Paint::Red, "mezame:"), chain(self));
        for fault in self.faults() {
            let path = if fault.path.is_empty() { "" } else { ": " };
            let _ =
                write!(out, "\n  {}{path}{}", text::line(&fault.path), text::line(&fault.message));
            if !fault.mend.is_empty() {
                let _ = write!(out, "\n    mend: {}", text::line(&fault.mend));
            }
        }
        if let Some(mend) = self.mend() {
            let _ = write!(out, "\n  mend: {mend}");
        }
        screen.complain(&out);
    }

    /// What the control plane found wrong.
    fn faults(&self) -> &[Fault] {
        match self {
            Self::Client(ClientError::Problem(problem))
            | Self::About { source: ClientError::Problem(problem), .. } => &problem.faults,
            Self::Job(job) => &job.faults,
            Self::Pruned(faults) => faults,
            _ => &[],
        }
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        Self::Client(error.into())
    }
}

/// Whether what an import failed of is at fault, and not the site: its place is a field of what was
/// asked for.
fn is_of_import(job: &Job, fault: &Fault) -> bool {
    const FIELDS: [&str; 9] =
        ["name", "format", "size", "labels", "sha256", "sha512", "signature", "trusted", "largest"];
    let field = fault.path.split(['.', '[']).next().unwrap_or_default();
    let has_failed = job.what == JobKind::Import && job.state == JobState::Failed;
    has_failed && FIELDS.contains(&field)
}

/// An error with its causes, without repeating a cause that its effect already says.
pub fn chain(error: &dyn Error) -> String {
    let mut out = error.to_string();
    let mut last = out.clone();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !last.contains(&said) {
            let _ = write!(out, ": {said}");
        }
        last = said;
        next = cause.source();
    }
    out
}
