//! From the protocol's response to hyper's.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue},
};

/// Makes hyper's response; `is_last` ends the connection with it.
pub(super) fn of(reply: &mezame_protocol::Response, is_last: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(reply.body.clone()));
    *response.status_mut() =
        StatusCode::from_u16(reply.status.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    reply.for_each_header(|name, value| add(headers, name, value));
    if reply.content_length != reply.body.len() {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(reply.content_length));
    }
    if is_last || reply.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn add(headers: &mut HeaderMap, name: &'static str, value: &[u8]) {
    // The protocol makes no header that is not valid; one that were would be left out.
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.append(HeaderName::from_static(name), value);
    }
}
