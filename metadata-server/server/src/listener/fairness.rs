//! Who has to go when all places are taken: the longest idle connection of the port that has the
//! most, if that is more than the newcomer's port has.

use std::sync::Arc;

use super::{Serving, connection::Connection};
use crate::{identity::Attachment, metrics::refusal::Reason};

/// Cuts one connection of a port that has more than its share; false if there is none.
pub(super) fn make_room(serving: &Serving, newcomer: &Arc<Attachment>) -> bool {
    let greediest = serving.identities.all().into_iter().max_by_key(|one| one.connections());
    let Some(greediest) = greediest else { return false };
    if greediest.connections() <= newcomer.connections() + 1 {
        return false;
    }
    let mut longest: Option<(u64, Arc<Connection>)> = None;
    let mut any = None;
    greediest.for_each_connection(|connection| {
        if connection.is_reset() {
            return;
        }
        any = Some(Arc::clone(connection));
        if let Some(since) = connection.idle_since()
            && longest.as_ref().is_none_or(|(longest, _)| since < *longest)
        {
            longest = Some((since, Arc::clone(connection)));
        }
    });
    // One that holds all places with requests under way is no better than one that idles.
    let Some(evicted) = longest.map(|(_, connection)| connection).or(any) else { return false };
    serving.metrics.refused(Reason::Evicted);
    evicted.reset();
    true
}
