//! Asking the service for orders to freeze and to thaw, and saying what has become of them.
//!
//! ```text
//!   GET  /mezame/v1/freeze?watch=TAG   waits for another order ─► [`Standing`]
//!   POST /mezame/v1/freeze             [`Answer`]
//! ```
//! On a connection of its own, [beside](Source::beside) the one that waits for the document.

use std::time::Duration;

use mezame_model::freeze::{Answer, Order, Standing};

use super::{Source, SourceError, json_error};

/// Orders to freeze, and what has become of them.
const FREEZE: &str = "/mezame/v1/freeze";
/// For what is said of an order: whoever gave it waits.
const ANSWER: Duration = Duration::from_secs(2);

impl Source {
    /// Another connection of the same way, with a token of its own.
    pub fn beside(&self) -> Self {
        Self::new(self.client.beside())
    }

    /// Whether both go the same way.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.client.is_beside(&other.client)
    }

    /// Waits for an order that is another than the one with this tag. None when the time is over;
    /// else the order that stands, if one does, and the tag of that.
    pub fn order(
        &mut self,
        tag: &str,
        wait: Duration,
    ) -> Result<Option<(Option<Order>, String)>, SourceError> {
        let (tag, seconds) = (tag.trim_matches('"'), wait.as_secs());
        let target = format!("{FREEZE}?watch={tag}&timeout={seconds}");
        let response = self.authorized("GET", &target, None, wait + ANSWER)?;
        if response.head.status == 304 {
            return Ok(None);
        }
        let tag = response.head.header("etag").filter(|it| !it.is_empty());
        let tag = tag.ok_or_else(|| SourceError::Document("it came without an ETag".into()))?;
        let tag = tag.to_owned();
        let standing: Standing = serde_json::from_slice(&response.body)
            .map_err(|error| SourceError::Document(json_error(&error, &response.body)))?;
        Ok(Some((standing.order, tag)))
    }

    /// Says what has become of an order.
    pub fn post_answer(&mut self, answer: &Answer) -> Result<(), SourceError> {
        let body = serde_json::to_vec(answer).unwrap_or_default();
        self.authorized("POST", FREEZE, Some(&body), ANSWER).map(drop)
    }
}
