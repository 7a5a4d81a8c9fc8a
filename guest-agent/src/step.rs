//! What a plan is made of: the steps, and the nouns that they act on.
//!
//! Plain values. A step says *what*; how a system does it is [`crate::platform`]'s affair.

mod display;
mod of_user;

use std::fmt;

use mezame_model::{
    Certificate, RemoteDesktop, SecretName, SecretString, WindowsKey, Winrm, document::Interface,
};
use sha2::{Digest as _, Sha256};

pub use self::of_user::{OfUser, respelled};
use crate::{facts::System, licence::Licence};

/// How often a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frequency {
    /// In each run: the step is idempotent and costs little.
    Always,
    /// In the first run of each boot.
    PerBoot,
    /// Once for each instance id.
    PerInstance,
    /// Once as long as the agent's state is kept, even where the disk becomes another instance.
    Once,
}

impl fmt::Display for Frequency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Always => "always",
            Self::PerBoot => "per boot",
            Self::PerInstance => "per instance",
            Self::Once => "once",
        })
    }
}

/// The fingerprint of what a step would do, so that moved content is known again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

impl Fingerprint {
    /// SHA-256 over the pieces, each with its length, in hexadecimal.
    pub fn of(pieces: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for piece in pieces {
            hash.update((piece.len() as u64).to_be_bytes());
            hash.update(piece);
        }
        Self(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Of an operator's ask for another password: of two of one user's, the later one is the
    /// greater.
    pub fn of_reset(user: &str, asked_ms: u64) -> Self {
        Self(format!("reset {user} {asked_ms:020}"))
    }
}

/// An account that is to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The login name.
    pub name: String,
    /// The comment field.
    pub gecos: Option<String>,
    /// Groups besides its own; those that are missing are made.
    pub groups: Vec<String>,
    /// The main group; one with the account's name without it.
    pub primary_group: Option<String>,
    /// The login shell; the system's default without one.
    pub shell: Option<String>,
    /// The home directory; `/home/NAME` without one.
    pub home: Option<String>,
    /// A wanted number.
    pub uid: Option<u32>,
    /// A system account: a number below 1000.
    pub system: bool,
    /// Whether the home directory is made.
    pub make_home: bool,
}

impl Account {
    /// An account with nothing but its name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            gecos: None,
            groups: Vec::new(),
            primary_group: None,
            shell: None,
            home: None,
            uid: None,
            system: false,
            make_home: true,
        }
    }
}

/// A file that is to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Absolute.
    pub path: String,
    /// What it is to hold, or what is appended.
    pub content: Vec<u8>,
    /// The mode's lower twelve bits.
    pub mode: u32,
    /// `user`, `user:group`, or numbers; root without it.
    pub owner: Option<String>,
    /// Add to the end of what is there.
    pub append: bool,
}

impl fmt::Debug for FileSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // People put secrets into files.
        write!(out, "FileSpec({:?}, {} bytes, {:o})", self.path, self.content.len(), self.mode)
    }
}

/// What a script is written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Language {
    /// Its first line names its interpreter.
    Shebang,
    /// For cmd.exe.
    Batch,
    /// For Windows PowerShell.
    PowerShell(PowerShell),
}

impl Language {
    /// The kind of system that runs it.
    pub fn system(&self) -> System {
        match self {
            Self::Shebang => System::Unix,
            Self::Batch | Self::PowerShell(_) => System::Windows,
        }
    }
}

/// How Windows PowerShell is to be started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PowerShell {
    /// In place of the usual ones.
    pub arguments: Vec<String>,
    /// The one of 32 bits.
    pub narrow: bool,
}

/// A program that is to be run.
#[derive(Clone, PartialEq, Eq)]
pub struct Script {
    /// The name of its file and of the file that keeps its output.
    pub name: String,
    /// The whole file, `#!` line included.
    pub body: Vec<u8>,
    /// How it is run.
    pub language: Language,
}

impl Script {
    /// One that names its interpreter.
    pub fn unix(name: &str, body: &[u8]) -> Self {
        Self { name: name.to_owned(), body: body.to_vec(), language: Language::Shebang }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Script({:?}, {} bytes)", self.name, self.body.len())
    }
}

/// What the package manager is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packages {
    /// Fetch the lists first.
    pub update: bool,
    /// Bring what is installed up to date.
    pub upgrade: bool,
    /// Names, or `name=version`.
    pub install: Vec<String>,
}

/// Where the clock is set from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ntp {
    /// Single servers.
    pub servers: Vec<String>,
    /// Names that stand for many.
    pub pools: Vec<String>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Brings an interface to the document's state, now.
    Interface {
        /// The device with the document's MAC.
        device: String,
        /// What it is to be.
        interface: Interface,
    },
    /// Writes the interfaces down for the system's own network service.
    PersistNetwork {
        /// Device and state.
        interfaces: Vec<(String, Interface)>,
    },
    /// Names the host.
    Hostname(String),
    /// Lets the host find itself by its names; the first is the full one.
    OwnName(Vec<String>),
    /// Makes an account, or completes it.
    Account(Account),
    /// Makes a group, and takes those of its members in who are there.
    Group {
        /// Its name.
        name: String,
        /// Login names.
        members: Vec<String>,
    },
    /// Lets a user become root; no rules: takes the leave back.
    Sudo {
        /// Who.
        user: String,
        /// What follows the name in sudoers.
        rules: Vec<String>,
    },
    /// Makes the agent's block of a user's authorized_keys hold exactly these.
    Keys {
        /// Whose.
        user: String,
        /// Lines.
        keys: Vec<String>,
    },
    /// Sets a password by its hash.
    PasswordHash {
        /// Whose.
        user: String,
        /// For crypt(3).
        hash: SecretString,
    },
    /// Sets a password that was handed over in plain text.
    PasswordText {
        /// Whose.
        user: String,
        /// The password.
        text: SecretString,
    },
    /// Makes a password and seals it to the first of the keys that can be sealed to.
    GeneratePassword {
        /// Whose.
        user: String,
        /// authorized_keys lines.
        recipients: Vec<String>,
        /// The operator's ask that it is made for; none of the first one.
        reset: Option<u64>,
        /// Whether it is encrypted as OpenStack's clients do, too.
        nova: bool,
    },
    /// Makes a password, encrypts it to a key, and answers on the serial port.
    AnswerWindowsKey {
        /// Whose password, as the plan calls the user.
        user: String,
        /// The ask.
        key: WindowsKey,
    },
    /// Shuts an account: nobody gets in by it, and who was in is out. What it owns stays.
    Stop {
        /// Whose.
        user: String,
    },
    /// Opens an account that was shut.
    Start {
        /// Whose.
        user: String,
    },
    /// Has a password open nothing any more; keys still do.
    LockPassword {
        /// Whose.
        user: String,
    },
    /// Has the system trust these certificates besides its own, and none that it was given before.
    TrustCertificates(Vec<Certificate>),
    /// Who gets in by Remote Desktop.
    RemoteDesktop(RemoteDesktop),
    /// Who gets in by WinRM.
    Winrm {
        /// What is wanted.
        wanted: Winrm,
        /// What its certificate is for.
        hostname: String,
    },
    /// Whether the SSH server takes passwords.
    SshPasswords(bool),
    /// Makes a user choose a new password at the next login.
    ExpirePassword {
        /// Whose.
        user: String,
    },
    /// Writes a file.
    File(FileSpec),
    /// Runs a program.
    Run(Script),
    /// Installs packages.
    Packages(Packages),
    /// Grows the root partition and its file system to the disk's end.
    Grow {
        /// The partition.
        partition: bool,
        /// The file system in it.
        filesystem: bool,
    },
    /// Sets the time zone, such as `Asia/Tokyo`.
    Timezone(String),
    /// Sets the servers that the clock follows.
    Ntp(Ntp),
    /// Stores a read-once secret and acknowledges it.
    Secret(SecretName),
    /// Activates the system's licence.
    Activate(Licence),
}

impl Action {
    /// Whether doing it again could do harm, so that an interrupted one is not repeated.
    pub fn runs_foreign_code(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Packages(_))
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Names it in reports and in the agent's ledger, such as `user admin`.
    pub key: String,
    /// How often.
    pub frequency: Frequency,
    /// What it would do; only where it is done once.
    pub fingerprint: Option<Fingerprint>,
    /// What.
    pub action: Action,
}
