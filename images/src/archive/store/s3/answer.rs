//! What a server's answer means: done, not done, or nobody knows.
//!
//! The difference decides what may be tried again. `404` alone does not say that an object is
//! missing: a wrong bucket or somebody's web server answers so too, and who collects garbage would
//! believe that everything is gone. Only S3's own word for it counts.
//!
//! [Error codes](https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).

use super::{connection::Answer, error::S3Error};

/// What became of a request.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is done.
    Done(Answer),
    /// There is no such object.
    Missing,
    /// There is an object of this name already, so it was not written.
    Taken,
    /// The object is shorter than what was asked for.
    BeyondEnd,
    /// It is not done, and another try may succeed.
    Busy(S3Error),
    /// It may be done.
    Unsure(S3Error),
    /// It is not done, and won't be.
    Refused(S3Error),
}

/// Codes of what was not done since it came at a bad time, or was damaged on the way.
const BUSY: &[&str] = &[
    "SlowDown",
    "ServiceUnavailable",
    "TooManyRequests",
    "RequestTimeout",
    "ConditionalRequestConflict",
    "OperationAborted",
    "BadDigest",
    "XAmzContentChecksumMismatch",
    "IncompleteBody",
];

impl Verdict {
    pub(super) fn of(answer: Answer) -> Self {
        let status = answer.status.as_u16();
        if answer.status.is_success() {
            return Self::Done(answer);
        }
        let (code, message) = words(&answer.body);
        let is_busy = status == 429 || BUSY.contains(&&*code);
        match (status, &*code) {
            (404, "NoSuchKey") => Self::Missing,
            (412, _) => Self::Taken,
            (416, _) => Self::BeyondEnd,
            _ => {
                let error = S3Error::Refused { status, code, message };
                match status {
                    _ if is_busy => Self::Busy(error),
                    // A balancer's 503 may come after the server behind it has acted.
                    500.. => Self::Unsure(error),
                    _ => Self::Refused(error),
                }
            }
        }
    }
}

/// Code and message of an error's XML, made fit for a line of a log; empty where there are none.
fn words(body: &[u8]) -> (String, String) {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let Ok(document) = roxmltree::Document::parse(text) else {
        return Default::default();
    };
    let word = |name: &str, most: usize| -> String {
        let found = document.root_element().children().find(|node| node.has_tag_name(name));
        let text = found.and_then(|node| node.text()).unwrap_or_default();
        text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(most).collect()
    };
    if !document.root_element().has_tag_name("Error") {
        return Default::default();
    }
    (word("Code", 64), word("Message", 300))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Verdict {
        Verdict::of(Answer {
            status: hyper::StatusCode::from_u16(status).unwrap(),
            headers: Default::default(),
            body: body.into(),
        })
    }

    fn error(status: u16, code: &str) -> Verdict {
        let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
        answer(status, &format!("{head}\n<Error><Code>{code}</Code><Message>no</Message></Error>"))
    }

    #[test]
    fn only_the_server_s_own_word_makes_an_object_missing() {
        assert!(matches!(error(404, "NoSuchKey"), Verdict::Missing));
        assert!(matches!(error(404, "NoSuchBucket"), Verdict::Refused(_)));
        assert!(matches!(answer(404, ""), Verdict::Refused(_)));
        assert!(matches!(answer(404, "<html><body>NoSuchKey</body></html>"), Verdict::Refused(_)));
    }

    #[test]
    fn what_was_surely_not_done_is_told_from_what_may_be() {
        for (status, code) in [
            (503, "SlowDown"),
            (503, "ServiceUnavailable"),
            (409, "ConditionalRequestConflict"),
            (400, "RequestTimeout"),
            (400, "BadDigest"),
            (429, ""),
        ] {
            assert!(matches!(error(status, code), Verdict::Busy(_)), "{status} {code}");
        }
        for status in [500, 502, 503, 504] {
            assert!(matches!(answer(status, "upstream reset"), Verdict::Unsure(_)), "{status}");
        }
        assert!(matches!(error(500, "InternalError"), Verdict::Unsure(_)));
        for (status, code) in [(403, "AccessDenied"), (301, "PermanentRedirect"), (400, "")] {
            assert!(matches!(error(status, code), Verdict::Refused(_)), "{status} {code}");
        }
    }

    #[test]
    fn what_a_server_says_is_cut_and_made_fit_for_a_log() {
        let (code, message) = words(
            format!(
                "<Error><Code>A\u{1b}[1mB</Code><Message>{}</Message></Error>",
                "x".repeat(999)
            )
            .replace('\u{1b}', "\n")
            .as_bytes(),
        );
        assert_eq!((&*code, message.len()), ("A[1mB", 300));
        proptest::proptest!(|(body: Vec<u8>)| { words(&body); });
    }
}
