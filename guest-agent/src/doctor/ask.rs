//! Asking the service as the agent does, and writing down how each answer looked.
//!
//! Own requests and not the agent's source, which turns an answer into a result: the doctor wants
//! the status, the word and the date of each. No answer is kept that holds a secret: of a token
//! only that there was one, of a document only its parsed form.

use std::{
    io,
    time::{Duration, SystemTime},
};

use mezame_model::Document;

use super::observation::{Answer, Asked, Exchange, Failure, FailureKind};
use crate::source::{
    DOCUMENT, TOKEN, TOKEN_HEADER, TOKEN_TTL, TOKEN_TTL_HEADER,
    http::{Client, HttpError, Request, Response},
    is_token,
};

/// For one answer. The service's own take milliseconds.
const PATIENCE: Duration = Duration::from_secs(4);
/// More than one full packet on any Ethernet without jumbo frames.
const LONG: usize = 3000;
/// How much is kept of what an answer says.
const SAID: usize = 120;

/// Asks for a token, for the document, and, where it helps to tell causes apart, for more.
pub(super) fn ask(client: &mut Client) -> Asked {
    let mut asked = Asked {
        claimed: None,
        token: Ok(Answer::default()),
        document: None,
        small: None,
        long: None,
        refusal: None,
        heard: None,
        neighbour: None,
    };
    let mut token = None;
    asked.token = put_token(client, &mut token);
    match &asked.token {
        Err(failure) if !failure.connected => return asked,
        Err(_) => {
            asked.small = Some(get(client, "/", &[]));
            return asked;
        }
        Ok(answer) if !matches!(answer.status, 200 | 404 | 405) => return asked,
        Ok(_) => {}
    }
    let headers: Vec<(&str, &str)> = token.iter().map(|it| (TOKEN_HEADER, it.as_str())).collect();
    let document = get(client, DOCUMENT, &headers);
    match &document {
        Err(_) => asked.small = Some(get(client, "/", &headers)),
        Ok(answer) if answer.document.is_some() => {
            let padding = "x".repeat(LONG);
            asked.long = Some(get(client, "/", &[("X-Padding", &padding)]));
        }
        Ok(_) => {}
    }
    asked.document = Some(document);
    // It opens everything of this guest's.
    if let Some(token) = &mut token {
        zeroize::Zeroize::zeroize(token);
    }
    asked
}

fn put_token(client: &mut Client, token: &mut Option<String>) -> Exchange {
    let request = Request {
        method: "PUT",
        target: TOKEN,
        headers: &[(TOKEN_TTL_HEADER, TOKEN_TTL)],
        body: Some(b""),
        timeout: PATIENCE,
    };
    let response = client.exchange(&request).map_err(failure)?;
    let mut answer = answer(&response);
    if answer.status == 200 {
        answer.said.clear();
        *token = String::from_utf8(response.body).ok().filter(|text| is_token(text));
    }
    Ok(answer)
}

fn get(client: &mut Client, target: &str, headers: &[(&str, &str)]) -> Exchange {
    let request = Request { method: "GET", target, headers, body: None, timeout: PATIENCE };
    let response = client.exchange(&request).map_err(failure)?;
    let mut answer = answer(&response);
    if answer.status == 200 && target == DOCUMENT {
        answer.said.clear();
        match serde_json::from_slice::<Document>(&response.body) {
            Ok(document) if document.version != Document::VERSION => {
                let text =
                    format!("its version is {}, not {}", document.version, Document::VERSION);
                answer.no_document = Some(text);
            }
            Ok(document) => answer.document = Some(Box::new(document)),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let text = format!("it can't be read at line {line}, column {column}");
                answer.no_document = Some(text);
            }
        }
    }
    Ok(answer)
}

fn answer(response: &Response) -> Answer {
    #[derive(serde::Deserialize)]
    struct Said {
        error: String,
    }
    let ahead_s = response.head.header("date").and_then(|text| ahead(text, SystemTime::now()));
    let word = serde_json::from_slice::<Said>(&response.body).map(|said| said.error);
    let text = word.unwrap_or_else(|_| String::from_utf8_lossy(&response.body).into_owned());
    let said = text.trim().chars().take(SAID).filter(|it| !it.is_control()).collect();
    Answer { status: response.head.status, ahead_s, said, ..Answer::default() }
}

/// How far a clock is ahead of a Date header (RFC 9110, section 6.6.1), in seconds.
fn ahead(date: &str, now: SystemTime) -> Option<i64> {
    let told = httpdate::parse_http_date(date).ok()?;
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).ok();
    match now.duration_since(told) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => seconds(behind.duration()).map(|it| -it),
    }
}

fn failure(error: HttpError) -> Failure {
    let (connected, cause) = match &error {
        HttpError::Connect(cause) => (false, Some(cause)),
        HttpError::Exchange(cause) => (true, Some(cause)),
        HttpError::Malformed | HttpError::TooLong => (true, None),
    };
    let text = cause.map_or_else(|| error.to_string(), ToString::to_string);
    Failure { connected, kind: cause.map_or(FailureKind::NoHttp, kind), text }
}

fn kind(error: &io::Error) -> FailureKind {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => FailureKind::Refused,
        Kind::HostUnreachable => FailureKind::NoNeighbour,
        Kind::NetworkUnreachable | Kind::AddrNotAvailable => FailureKind::NoRoute,
        // Linux answers to a route of type "blackhole" with EINVAL (ip-route(8)).
        Kind::PermissionDenied | Kind::InvalidInput => FailureKind::Denied,
        Kind::TimedOut | Kind::WouldBlock => FailureKind::TimedOut,
        _ => FailureKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_date_of_an_answer() {
        let date = "Wed, 25 Nov 2026 10:00:00 GMT";
        let told = httpdate::parse_http_date(date).unwrap();
        assert_eq!(ahead(date, told + Duration::from_secs(90)), Some(90));
        assert_eq!(ahead(date, told - Duration::from_secs(5)), Some(-5));
        assert_eq!(ahead("yesterday", told), None);
    }

    #[test]
    fn what_an_answer_says_is_its_word_or_the_beginning_of_its_text() {
        let response = |body: &str| Response {
            head: crate::source::http::Head { status: 403, headers: Vec::new() },
            body: body.as_bytes().to_vec(),
        };
        assert_eq!(answer(&response("{\"error\":\"off\",\"detail\":\"x\"}")).said, "off");
        assert_eq!(answer(&response("unknown port\n")).said, "unknown port");
        assert_eq!(answer(&response(&"é\u{7}".repeat(500))).said.chars().count(), SAID / 2);
    }
}
