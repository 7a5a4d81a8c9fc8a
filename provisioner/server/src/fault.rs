//! A fault in the form that every call and every job tells: the place, what is wrong, how to mend it.
//! It writes no log and knows no one error.

use std::{error::Error, fmt::Write};

use mezame_model::api::Fault;

/// A fault of one request.
pub(crate) fn plain(path: &str, message: impl Into<String>, mend: &str) -> Fault {
    Fault { document: 0, path: path.into(), message: message.into(), mend: mend.into() }
}

/// An error with its causes, without repeating a cause that its effect already says.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !out.contains(&said) {
            // Writing to a text does not fail.
            let _ = write!(out, ": {said}");
        }
        next = cause.source();
    }
    out
}
