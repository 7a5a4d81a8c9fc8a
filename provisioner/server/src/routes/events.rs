//! The stream of events: what is kept after a generation, then what comes, one JSON line each.
//!
//! A write of many documents is many lines of one generation, and a connection may be lost between
//! them. So a reader that lost its own asks again with the generation before that of the last line
//! that it has read whole, and passes over the lines that it knows. Where what it missed is gone,
//! it gets 410 and lists anew. The store is read in pages as fast as the reader takes them, so a
//! slow reader costs no memory.

use std::collections::HashMap;

use axum::{
    body::{Body, Bytes},
    extract::{Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use mezame_model::{Generation, api::Event};

use super::{Shared, problem::Failure};
use crate::{control::ControlError, store};

/// Events that are read from the store at once.
const PAGE: usize = 500;

/// `?after=GENERATION`; without it, from now on.
pub(super) async fn stream(
    State(api): Shared,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Failure> {
    let mut head = api.control.head();
    let after =
        match query.get("after") {
            None => *head.borrow_and_update(),
            Some(text) => Generation(text.parse().map_err(|_| Failure::Parameter {
                name: "after",
                wanted: "a generation's number",
            })?),
        };
    // The first page is read before the answer begins, so that a reader that is too late is told
    // by a status. Marked as seen before reading: a write in between wakes the loop below.
    head.borrow_and_update();
    let first = api.control.events(store::From::After(after), PAGE).await?;
    let control = std::sync::Arc::clone(&api.control);
    let ending = api.ending.clone();
    let lines = stream::unfold(Some((control, head, ending, first)), |state| async {
        let (control, mut head, mut ending, mut page) = state?;
        while page.events.is_empty() {
            tokio::select! {
                changed = head.changed() => changed.ok()?,
                _ = ending.wait_for(|ending| *ending) => return None,
            }
            page = control.events(store::From::Position(page.next), PAGE).await.ok()?;
        }
        let lines = render(&page.events);
        // What is there already goes first; only then is news waited for. The stream ends where
        // its place is lost or the control plane ends, and the reader asks again.
        head.borrow_and_update();
        match control.events(store::From::Position(page.next), PAGE).await {
            Ok(next) => Some((Ok::<_, ControlError>(lines), Some((control, head, ending, next)))),
            Err(_) => Some((Ok(lines), None)),
        }
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

fn render(events: &[Event]) -> Bytes {
    let mut lines = Vec::with_capacity(events.len() * 200);
    for event in events {
        if serde_json::to_writer(&mut lines, event).is_ok() {
            lines.push(b'\n');
        }
    }
    lines.into()
}
