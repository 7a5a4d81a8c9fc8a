//! Freezing a guest's file systems for a moment: what is asked of its agent, what that answers, and
//! how a program of the host asks the metadata-server for it.
//!
//! ```text
//!   a backup ── Asking, a line of JSON ──► metadata-server ── Order (long-poll) ──► the agent
//!            ◄── Told, a line of JSON ───                  ◄── Answer (POST) ─────
//! ```
//! What an agent answers is believed of its own guest alone. Neither side's words are secret.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::InstanceId;

/// A number that no two orders share.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OrderId(pub u128);

impl fmt::Display for OrderId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl fmt::Debug for OrderId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "OrderId({self})")
    }
}

impl From<OrderId> for String {
    fn from(id: OrderId) -> Self {
        id.to_string()
    }
}

/// A text that is no order's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an order's number is 32 hexadecimal digits")]
pub struct NoOrderId;

impl TryFrom<String> for OrderId {
    type Error = NoOrderId;

    fn try_from(text: String) -> Result<Self, NoOrderId> {
        let is_ours = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(&text, 16).ok().filter(|_| is_ours);
        number.map(Self).ok_or(NoOrderId)
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// That the guest's programs and file systems write all that they hold, and then nothing.
    Freeze {
        /// When the guest is to go on by itself, in milliseconds from now; at most
        /// [`Wanted::LONGEST_MS`].
        bound_ms: u32,
    },
    /// That they go on.
    Thaw,
}

impl Wanted {
    /// The longest freeze, in milliseconds: a minute.
    pub const LONGEST_MS: u32 = 60_000;
}

/// What the agent is asked to do, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Which order it is.
    pub id: OrderId,
    /// What is to be done.
    pub wanted: Wanted,
}

/// What the agent is given at its path: the order that stands, if one does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The order.
    pub order: Option<Order>,
}

/// What has become of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Of which.
    pub id: OrderId,
    /// What was done.
    pub done: Done,
}

/// What the agent has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// They are frozen.
    Frozen {
        /// Where they are mounted.
        file_systems: Vec<String>,
        /// Those on a disk that can't be frozen and go on, each with why.
        skipped: Vec<String>,
    },
    /// They go on.
    Thawed {
        /// Whether all of them had been frozen until now.
        was_frozen: bool,
    },
    /// It was not done. After a freeze nothing is frozen, or what could not thaw again, which an order to
    /// thaw is answered with; after that, something still is.
    Failed {
        /// Why, in words.
        reason: String,
    },
}

impl Answer {
    /// The longest answer, in bytes of JSON.
    pub const LENGTH_MAX: usize = 16 << 10;
}

/// What a program of the host asks the metadata-server for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// Of which guest.
    pub instance: InstanceId,
    /// What.
    pub wanted: Wanted,
}

/// What the program is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// The agent's answer.
    Done(Done),
    /// No answer came.
    No(Unanswered),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Unanswered {
    /// What was asked is nothing that can be asked.
    #[error("the metadata-server did not understand the question")]
    Malformed,
    /// The guest has no port on this host, or its record has not come.
    #[error("this host's metadata-server serves no such instance")]
    NoSuchInstance,
    /// Somebody else freezes this guest.
    #[error("somebody else is freezing this guest")]
    Busy,
    /// Nobody took the order: nothing of it is done.
    #[error("no agent in the guest asks for orders")]
    NoAgent,
    /// It was taken, and then nothing came in time.
    #[error("the guest's agent has not answered in time")]
    Late,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_answers_have_these_forms() {
        let id = OrderId(0xab);
        let order = Order { id, wanted: Wanted::Freeze { bound_ms: 900 } };
        let json = r#"{"order":{"id":"000000000000000000000000000000ab","wanted":{"freeze":{"bound_ms":900}}}}"#;
        assert_eq!(serde_json::to_string(&Standing { order: Some(order) }).unwrap(), json);
        assert_eq!(serde_json::from_str::<Standing>(json).unwrap().order, Some(order));
        let json =
            r#"{"id":"000000000000000000000000000000ab","done":{"thawed":{"was_frozen":true}}}"#;
        let answer = Answer { id, done: Done::Thawed { was_frozen: true } };
        assert_eq!(serde_json::to_string(&answer).unwrap(), json);
        let told = r#"{"no":"no-agent"}"#;
        assert_eq!(serde_json::from_str::<Told>(told).unwrap(), Told::No(Unanswered::NoAgent));
        let asking = r#"{"instance":"i-0123456789abcdef0","wanted":"thaw"}"#;
        assert_eq!(serde_json::from_str::<Asking>(asking).unwrap().wanted, Wanted::Thaw);
    }

    #[test]
    fn what_is_no_number_of_an_order_is_refused() {
        for text in ["", "ab", "+00000000000000000000000000000ab", &"f".repeat(33)] {
            assert_eq!(OrderId::try_from(text.to_owned()), Err(NoOrderId), "{text}");
        }
    }
}
