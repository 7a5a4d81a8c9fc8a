//! What is said of something that was done and has no answer of its own.

use super::Session;
use crate::{exit::Exit, failure::Failure};

/// What is said behind an image that is deleted.
pub(super) const SPACE: &str =
    "; its space is freed by the archive's next collection ('mezame image archive collect')";

/// Says it to people, and as `id` and `result` to programs.
pub(super) fn told(
    session: &Session<'_>,
    id: &str,
    result: &str,
    said: &str,
) -> Result<Exit, Failure> {
    let screen = session.screen;
    if screen.is_data() {
        screen.print_value(&serde_json::json!({ "id": id, "result": result }))?;
    } else {
        screen.say(said);
    }
    Ok(Exit::Success)
}
