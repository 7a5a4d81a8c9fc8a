//! From bytes and headers to one canonical form.

/// The versions of HTTP that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// The methods that some path answers; all others are refused with 405.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Read without a body.
    Head,
    /// Ask for a token.
    Put,
    /// Report something.
    Post,
    /// Any other.
    Other,
}

/// Why a request is refused before anybody looks at what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a path.
    #[error("the request target is not a path")]
    TargetForm,
}

impl Refusal {
    /// What the guest is told.
    pub fn response(self) -> crate::Response {
        crate::Response::text(crate::Status::BadRequest, "bad request\n")
    }
}

/// A request in canonical form.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    method: Method,
    path: std::borrow::Cow<'a, str>,
    content_length: u64,
}

impl<'a> Request<'a> {
    /// Parses a head. `target` is the request target as it came (for hyper: the path and query if
    /// the URI has neither scheme nor authority, else the whole URI).
    pub fn parse(
        _version: Version,
        _method: &str,
        _target: &'a [u8],
        _headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, Refusal> {
        Err(Refusal::TargetForm)
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The canonical path: begins with '/', has no empty segment, no escape.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How long the body is, by its own account.
    pub fn content_length(&self) -> u64 {
        self.content_length
    }
}
