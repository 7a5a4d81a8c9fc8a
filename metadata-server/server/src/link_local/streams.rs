//! Connections of guests: let in under their port, served in a task, and reset at the end of the
//! tenancy.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::{TcpListener, TcpStream};

use super::{
    asker::{self, Asking},
    dns, relay,
    share::Shared,
};
use crate::{
    identity::Attachment,
    listener::{Stage, pause_after, reset_on_close},
    metrics::link_local::{Outcome, Service},
};

/// Who is connected.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) shared: Arc<Shared>,
    pub(super) attachment: Arc<Attachment>,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// What was sent is delivered.
    Closed,
    /// The guest is to notice that nobody answers.
    Reset,
}

/// Accepts connections until no more are to be taken.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener, service: Service) {
    let draining = shared.reached(Stage::Draining);
    tokio::pin!(draining);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut draining => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => admit(&shared, socket, peer, service),
            Err(error) => pause_after(&error).await,
        }
    }
}

/// Lets the connection in, or resets it.
fn admit(shared: &Arc<Shared>, socket: TcpStream, peer: SocketAddr, service: Service) {
    let admitted =
        asker::attachment(&shared.serving.identities, peer.ip()).and_then(|attachment| {
            shared.take(service, &attachment)?;
            Asking::now(&attachment)?;
            Ok((shared.open(&attachment)?, attachment))
        });
    match admitted {
        Ok((open, attachment)) => {
            let peer = Peer { shared: Arc::clone(shared), attachment };
            tokio::spawn(async move {
                serve(&peer, socket, service).await;
                drop(open);
            });
        }
        Err(outcome) => {
            shared.count(service, outcome);
            reset_on_close(&socket);
        }
    }
}

async fn serve(peer: &Peer, mut socket: TcpStream, service: Service) {
    let served = async {
        match service {
            Service::Kms | Service::Tang => relay::serve(peer, &mut socket, service).await,
            _ => dns::serve(peer, &mut socket).await,
        }
    };
    let end = tokio::select! {
        biased;
        () = asker::over(&peer.attachment) => {
            peer.shared.count(service, Outcome::TenancyOver);
            End::Reset
        }
        end = served => end,
    };
    if end == End::Reset {
        reset_on_close(&socket);
    }
}
