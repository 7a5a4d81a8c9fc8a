//! What a guest may ask, and what it is answered: requests, tokens, policy, trees and dialects.
//!
//! Pure: no I/O, no clock, no randomness of its own, no tokio, no hyper. The shell reads a head,
//! makes a [`Request`] of it, finds the [`Guest`](mezame_model::Guest) whose port the bytes came
//! through, calls [`respond`](respond::respond) and does what the [`Answer`] says. Every status
//! that a guest can see is chosen in this crate.
//!
//! ```text
//! bytes ─► Request::parse ─► policy (Permit | Denial) ─► view over tree ─► render ─► Answer
//! ```
//!
//! Nothing in a request says who is asking. The guest is the argument, never a header's value.

mod address;
pub mod disk;
mod etag;
#[cfg(test)]
mod fixture;
pub mod gate;
mod host;
mod hpke;
pub mod identity_document;
mod network_config;
mod path;
mod policy;
pub mod release;
mod render;
pub mod request;
pub mod respond;
pub mod response;
pub mod spent;
pub mod token;
mod tree;
mod view;
pub mod wire;

pub use gate::Gate;
pub use identity_document::{Signer, SignerError};
pub use release::{Claim, Released, Start};
pub use request::{Method, Refusal, Request, Version};
pub use respond::{Answer, Context, body_limit, dialect_of, respond};
pub use response::{Audit, Response, Status};
pub use spent::Spent;
pub use token::{NoRandomness, Randomness, TokenKeyError, TokenKeys, UnixTime};
