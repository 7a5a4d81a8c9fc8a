//! Requests of S3's REST API, signed by AWS's Signature Version 4 in the query.
//!
//! In the query since it has an end: a server refuses a request that comes later than
//! `X-Amz-Expires` after it was signed, so nothing that was given up long ago can still take
//! effect. Headers that decide what happens (`If-None-Match`) are signed too: who takes one out on
//! the way makes the signature wrong. Each attempt is signed anew.
//!
//! [Signature](https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html),
//! [API](https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, header};
use jiff::Timestamp;
use rusty_s3::S3Action;

use super::{address::Address, credentials::Credentials, error::S3Error};

/// How far our clock may be behind the server's, and how much later than it was given up a
/// request may still take effect.
pub(super) const SLACK: Duration = Duration::from_secs(300);

/// Base64 of SHA-256, of the body of a request or an answer.
pub(super) const CHECKSUM: &str = "x-amz-checksum-sha256";

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) enum Ask<'a> {
    /// An object; or its bytes from the first to the last one of a range.
    Get { key: &'a str, range: Option<(u64, u64)> },
    /// Writes an object; where it is exclusive, only if there is none.
    Put { key: &'a str, body: Bytes, checksum: String, is_exclusive: bool },
    /// Deletes an object.
    Delete { key: &'a str },
    /// The next names that begin with this.
    List { prefix: &'a str, token: Option<&'a str> },
}

/// The checksum of a body as S3 spells it.
pub(super) fn checksum(body: &[u8]) -> String {
    STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, body))
}

impl Ask<'_> {
    /// How many bytes go over the network, at most and about: what its time is measured by. The
    /// answer has no more than `limit`.
    pub(super) fn length(&self, limit: u64) -> u64 {
        match self {
            Self::Put { body, .. } => body.len() as u64,
            Self::Get { range: Some((first, last)), .. } => last - first,
            // How long it is nobody has said.
            Self::Get { range: None, .. } => limit,
            Self::Delete { .. } | Self::List { .. } => 0,
        }
    }

    /// The request, signed for this time.
    pub(super) fn signed(
        &self,
        address: &Address,
        credentials: &Credentials,
        now_ms: u64,
        valid: Duration,
    ) -> Result<Request<Full<Bytes>>, S3Error> {
        let now = i64::try_from(now_ms).ok().and_then(|now| Timestamp::from_millisecond(now).ok());
        let now = now.ok_or(S3Error::Address("the clock is beyond what can be signed"))?;
        let (bucket, signer) = (&address.bucket, Some(credentials.signer()));
        let (method, url, body) = match self {
            Self::Get { key, .. } => {
                let action = rusty_s3::actions::GetObject::new(bucket, signer, key);
                (Method::GET, self.sign(action, valid, &now), Bytes::new())
            }
            Self::Put { key, body, .. } => {
                let action = rusty_s3::actions::PutObject::new(bucket, signer, key);
                (Method::PUT, self.sign(action, valid, &now), body.clone())
            }
            Self::Delete { key } => {
                let action = rusty_s3::actions::DeleteObject::new(bucket, signer, key);
                (Method::DELETE, self.sign(action, valid, &now), Bytes::new())
            }
            Self::List { prefix, token } => {
                let mut action = rusty_s3::actions::ListObjectsV2::new(bucket, signer);
                action.with_prefix(*prefix);
                if let Some(token) = token {
                    action.with_continuation_token(*token);
                }
                (Method::GET, self.sign(action, valid, &now), Bytes::new())
            }
        };
        let mut request = Request::builder().method(method).uri(url);
        request = request.header(header::HOST, &address.authority);
        if matches!(self, Self::Put { .. }) {
            request = request.header(header::CONTENT_LENGTH, body.len());
        }
        for (name, value) in self.headers() {
            request = request.header(name, value);
        }
        let built = request.body(Full::new(body));
        built.map_err(|_| S3Error::Address("the address can't be put into a request"))
    }

    fn sign<'a>(&self, mut action: impl S3Action<'a>, valid: Duration, now: &Timestamp) -> String {
        for (name, value) in self.headers() {
            action.headers_mut().insert(name, value);
        }
        let url = action.sign_with_time(valid, now);
        format!("{}?{}", url.path(), url.query().unwrap_or_default())
    }

    /// Headers that are signed, besides `host`.
    fn headers(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Get { range: Some((first, last)), .. } => {
                vec![("range", format!("bytes={first}-{last}"))]
            }
            Self::Get { range: None, .. } => vec![("x-amz-checksum-mode", "ENABLED".into())],
            Self::Put { checksum, is_exclusive, .. } => {
                let mut headers = vec![(CHECKSUM, checksum.clone())];
                if *is_exclusive {
                    headers.push(("if-none-match", "*".into()));
                }
                headers
            }
            Self::Delete { .. } | Self::List { .. } => vec![],
        }
    }
}
