//! Why a step failed, and how a report says it.

use crate::{
    outbox::OutboxError, password::PasswordError, platform::PlatformError, source::SourceError,
};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The system.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// Making a password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The metadata service.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// A user that a password is made for has a name that can't be posted.
    #[error("the user's name can't be posted: {0}")]
    UserName(#[from] mezame_model::IdError),
    /// A script ended with a status other than 0.
    #[error("exit status {status}; its output ends: {tail}")]
    ScriptExit {
        /// Its status.
        status: i32,
        /// The end of its output.
        tail: String,
    },
    /// A signal ended a script.
    #[error("ended by signal {signal}; its output ends: {tail}")]
    ScriptSignal {
        /// Which.
        signal: i32,
        /// The end of its output.
        tail: String,
    },
    /// The service was not reached any more.
    #[error("with it the metadata service was no longer reached: what was before is back")]
    RolledBack,
    /// A step failed half-way, and the guest was cut off by it.
    #[error("a step failed when addresses were gone already: what was before is back")]
    HalfDone,
    /// A script asked for a reboot once more than is heard.
    #[error(
        "in {boots} boots in a row scripts asked for a reboot: this one is not done, and the \
         script is not run again"
    )]
    RebootInVain {
        /// So many.
        boots: u32,
    },
    /// A script ran too long.
    #[error("ended after its time was over; its output ends: {tail}")]
    ScriptTimeout {
        /// The end of its output.
        tail: String,
    },
}

impl StepError {
    /// A word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Platform(error) => error.reason(),
            Self::Password(error) => error.reason(),
            Self::Source(error) => error.reason(),
            Self::Outbox(_) => "outbox",
            Self::UserName(_) => "bad-value",
            Self::ScriptExit { .. } => "script-exit",
            Self::ScriptSignal { .. } => "script-signal",
            Self::ScriptTimeout { .. } => "script-timeout",
            Self::RebootInVain { .. } => "reboot-in-vain",
            Self::RolledBack | Self::HalfDone => "rolled-back",
        }
    }
}

/// An error with its causes.
pub(super) fn said(error: &StepError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
