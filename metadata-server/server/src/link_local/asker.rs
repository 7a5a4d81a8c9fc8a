//! Who is asking: the port behind a peer address, and its record.

use std::{net::IpAddr, sync::Arc};

use mezame_model::GuestPort;

use crate::{
    identity::{Attachment, Identities, Record, Standing},
    metrics::link_local::Outcome,
};

/// A port's record with the port in it.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) record: Arc<Record>,
    at: usize,
}

impl Asking {
    /// The record of an attached port as it is now.
    pub(super) fn now(attachment: &Attachment) -> Result<Self, Outcome> {
        match attachment.standing() {
            Standing::Waiting => Err(Outcome::NoRecord),
            Standing::Over => Err(Outcome::TenancyOver),
            Standing::Serving(record) => {
                let mut ports = record.guest.ports.iter();
                let at = ports.position(|entry| entry.port.id == attachment.port);
                let at = at.ok_or(Outcome::NoRecord)?;
                Ok(Self { record, at })
            }
        }
    }

    /// The port that was asked through.
    pub(super) fn port(&self) -> &GuestPort {
        &self.record.guest.ports[self.at]
    }
}

/// The attachment that a peer address stands for.
pub(super) fn attachment(
    identities: &Identities,
    peer: IpAddr,
) -> Result<Arc<Attachment>, Outcome> {
    identities.of_peer(peer).ok_or(Outcome::UnknownPort)
}

/// Returns once the tenancy is over.
pub(super) async fn over(attachment: &Attachment) {
    let mut standing = attachment.follow();
    // The sender lives as long as the attachment.
    let _ = standing.wait_for(|standing| matches!(standing, Standing::Over)).await;
}
