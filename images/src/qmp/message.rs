//! What QEMU sends: one line, one message. Pure, and never panics, whatever the bytes.

use serde::Deserialize;
use serde_json::Value;

use super::QmpError;

/// QEMU's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Version {
    /// Such as the 10 of 10.0.2.
    pub major: u32,
    /// The first 0 of it.
    pub minor: u32,
    /// The 2 of it.
    pub micro: u32,
}

/// Something that happened in QEMU.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event {
    /// Such as `JOB_STATUS_CHANGE`.
    #[serde(rename = "event")]
    pub name: String,
    /// What belongs to it.
    #[serde(default)]
    pub data: Value,
}

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Greeting(Version),
    /// The id is none where QEMU couldn't read the command's.
    Reply {
        id: Option<u64>,
        result: Result<Value, Refusal>,
    },
    Event(Event),
}

/// QEMU's reason for refusing a command.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Refusal {
    pub(super) class: String,
    #[serde(rename = "desc")]
    pub(super) description: String,
}

impl Refusal {
    /// The error of who asked.
    pub(super) fn of(self, command: &str) -> QmpError {
        let Self { class, description } = self;
        QmpError::Refused { command: command.into(), class, description }
    }
}

#[derive(Deserialize)]
struct Greeting {
    version: Versions,
}

#[derive(Deserialize)]
struct Versions {
    qemu: Version,
}

impl Message {
    /// Reads a line.
    pub(super) fn parse(line: &[u8]) -> Result<Self, QmpError> {
        let value: Value = serde_json::from_slice(line).map_err(QmpError::NotJson)?;
        let unexpected = QmpError::Unexpected { expected: "a message of the protocol" };
        let Value::Object(mut fields) = value else { return Err(unexpected) };
        let id = fields.get("id").and_then(Value::as_u64);
        let message = if let Some(greeting) = fields.remove("QMP") {
            serde_json::from_value(greeting)
                .map(|Greeting { version }| Self::Greeting(version.qemu))
        } else if let Some(value) = fields.remove("return") {
            Ok(Self::Reply { id, result: Ok(value) })
        } else if let Some(refusal) = fields.remove("error") {
            serde_json::from_value(refusal).map(|refusal| Self::Reply { id, result: Err(refusal) })
        } else {
            serde_json::from_value(Value::Object(fields)).map(Self::Event)
        };
        message.map_err(|_| unexpected)
    }
}
