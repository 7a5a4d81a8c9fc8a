//! Time for guests: a client's question goes to the network's time servers, the first of which
//! that has the time is believed. What is no client's question, and what nobody answers, gets nothing.

use std::{net::SocketAddr, time::Duration};

use mezame_link_local::ntp::{Answer, LENGTH, Question};
use tokio::time::timeout;

use super::{asker::Asking, datagrams::Way, upstream};
use crate::metrics::link_local::Outcome;

/// How long one time server may take. A later answer would be of little use: its delay is taken
/// for an error of the clock.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many time servers are asked one question.
const TRIES: usize = 2;

/// Starts waiting for a time server's answer to one datagram.
pub(super) fn answer(way: Way, asking: &Asking, datagram: &[u8]) {
    let servers = &asking.port().network.forward.ntp;
    if servers.is_empty() {
        return way.count(Outcome::NoUpstream);
    }
    let question = match upstream::random() {
        Ok(nonce) => Question::parse(datagram, nonce),
        Err(error) => {
            tracing::error!(%error, "a question for the time can't be passed on");
            return way.count(Outcome::Failed);
        }
    };
    let Some(question) = question else { return way.count(Outcome::Malformed) };
    let servers: Vec<SocketAddr> = servers.iter().copied().take(TRIES).collect();
    match way.shared.wait(&way.attachment) {
        Ok(waiting) => {
            tokio::spawn(async move {
                match ask(&servers, &question).await {
                    Some(reply) => way.reply(&reply, Outcome::Forwarded),
                    None => way.count(Outcome::Failed),
                }
                drop(waiting);
            });
        }
        Err(outcome) => way.count(outcome),
    }
}

async fn ask(servers: &[SocketAddr], question: &Question) -> Option<[u8; LENGTH]> {
    for server in servers {
        let message = question.message();
        let asked = upstream::exchange(*server, &message, |datagram| question.accept(datagram));
        match timeout(PATIENCE, asked).await {
            Ok(Ok(Answer::Time(reply))) => return Some(reply),
            Ok(Ok(Answer::NoTime)) => tracing::debug!(%server, "a time server has no time to tell"),
            Ok(Err(error)) => tracing::debug!(%server, %error, "a time server failed"),
            Err(_) => tracing::debug!(%server, "a time server is silent"),
        }
    }
    None
}
