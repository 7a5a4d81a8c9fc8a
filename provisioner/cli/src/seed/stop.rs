//! Why reading a text stops in its middle, in words that help.
//!
//! The parser's own messages are for those who know YAML's grammar; people meet a handful of them,
//! and for those it is said what to do.

use saphyr_parser::ScanError;

use super::{MAX_DEPTH, MAX_EXPANDED, TextFault, node::Place};

/// Reading can't go on.
pub(super) struct Stop {
    /// Where.
    pub(super) place: Place,
    /// Why.
    pub(super) why: StopReason,
}

/// Why reading can't go on.
pub(super) enum StopReason {
    /// The text is not YAML.
    Syntax(String),
    /// Deeper than [`MAX_DEPTH`].
    TooDeep,
    /// More than [`MAX_EXPANDED`].
    TooBig,
    /// So many faults that more would help nobody.
    TooMany,
}

impl StopReason {
    /// What the parser says.
    pub(super) fn of(error: &ScanError) -> Self {
        // The parser's own bound on flow collections, which it reads ahead of its events.
        if error.info() == "recursion limit exceeded" {
            Self::TooDeep
        } else {
            Self::Syntax(error.info().to_owned())
        }
    }
}

impl Stop {
    /// The fault to show; none for a stop that is only for brevity.
    pub(super) fn describe(self, text: &str) -> Option<TextFault> {
        let (message, mend) = match self.why {
            StopReason::TooMany => return None,
            StopReason::TooDeep => (
                format!("nested deeper than {MAX_DEPTH} levels"),
                "no document needs that; look for an unclosed '[' or '{'".to_owned(),
            ),
            StopReason::TooBig => (
                format!("expands to more than {MAX_EXPANDED} bytes"),
                "use fewer aliases, or split the seed".to_owned(),
            ),
            StopReason::Syntax(info) => syntax_mend(info, text, self.place.line),
        };
        Some(TextFault { place: self.place, message, mend })
    }
}

/// Words for the parser's errors that people meet most.
fn syntax_mend(info: String, text: &str, line: usize) -> (String, String) {
    let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let indentation: String = source.chars().take_while(|c| c.is_whitespace()).collect();
    if indentation.contains('\t') {
        return (
            "a tab is used for indentation".into(),
            "indent with blanks; YAML allows no tabs there".into(),
        );
    }
    let mend = if info.contains("mapping values are not allowed") {
        "quote a text that has ': ' in it, and check the indentation"
    } else if info.contains("unknown anchor") {
        "define the anchor with '&NAME' earlier in the same document"
    } else if info.contains("block scalar") {
        "indent the text under '|' further than its key, with blanks"
    } else if info.contains("quote") || info.contains("unexpected end of stream") {
        "look for a quote or bracket that is not closed"
    } else {
        "check the indentation, and quote texts that begin with or hold special characters"
    };
    (format!("not valid YAML: {info}"), mend.into())
}
