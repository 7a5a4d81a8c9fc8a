//! Where an archive lies in an object store: a server, a bucket, and a folder in it.
//!
//! Plain `http` is for loopback, unless the operator says that he wants it: a signature can't be
//! forged by who listens, but everything that is not encrypted can be read and answers be changed.

use std::net::IpAddr;

use rusty_s3::{Bucket, UrlStyle};

use super::{ObjectName, error::S3Error};

/// How a bucket is named in URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// `https://HOST/BUCKET/KEY`, which every server knows.
    #[default]
    Path,
    /// `https://BUCKET.HOST/KEY`, as AWS wishes.
    VirtualHost,
}

/// Whether requests may go over plain `http`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlainHttp {
    /// To this machine alone.
    #[default]
    ToLoopback,
    /// To anywhere: the operator trusts the network.
    Allowed,
}

/// What names an archive's place.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// `https://HOST[:PORT]`.
    pub endpoint: &'a str,
    /// The bucket's region; `us-east-1` where a server has none.
    pub region: &'a str,
    /// The bucket, which must be there.
    pub bucket: &'a str,
    /// The folder in the bucket, without `/` at its ends; empty for the whole bucket.
    pub folder: &'a str,
    /// How URLs are made.
    pub style: Style,
    /// What may go unencrypted.
    pub plain: PlainHttp,
}

/// A place that was looked at.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) bucket: Bucket,
    /// What all keys begin with: empty, or it ends with `/`.
    pub(super) root: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_tls: bool,
    /// The value of the Host header.
    pub(super) authority: String,
}

impl Address {
    pub(super) fn of(place: &Place<'_>) -> Result<Self, S3Error> {
        let wrong = S3Error::Address;
        let is_name = |text: &str| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
            (3..=63).contains(&text.len()) && text.bytes().all(plain) && !text.contains("..")
        };
        if !is_name(place.bucket) {
            return Err(wrong("a bucket has 3 to 63 of the characters a-z, 0-9, - and ."));
        }
        if place.region.is_empty() || !place.region.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong("a region is printable ASCII, such as us-east-1"));
        }
        let root = match place.folder {
            "" => String::new(),
            folder if folder.len() <= 200 && ObjectName::parse(folder).is_some() => {
                format!("{folder}/")
            }
            _ => return Err(wrong("a folder has characters of 0-9 a-z - _ . / and no empty part")),
        };
        let style = match place.style {
            Style::Path => UrlStyle::Path,
            Style::VirtualHost => UrlStyle::VirtualHost,
        };
        let unusable = "an object store's address is https://HOST or https://HOST:PORT";
        let endpoint = place.endpoint.parse().map_err(|_| wrong(unusable))?;
        let (name, region) = (place.bucket.to_owned(), place.region.to_owned());
        let bucket = Bucket::new(endpoint, style, name, region).map_err(|_| wrong(unusable))?;
        let url = bucket.base_url();
        let is_tls = url.scheme() == "https";
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(wrong(unusable));
        };
        if place.endpoint.contains(['@', '?', '#']) {
            return Err(wrong(unusable));
        }
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if !is_tls && place.plain == PlainHttp::ToLoopback && !is_loopback(&host) {
            return Err(wrong("plain http would show everything to the network; use https"));
        }
        Ok(Self { root, host, port, is_tls, authority, bucket })
    }

    /// The object's key in the bucket.
    pub(super) fn key(&self, name: &ObjectName) -> String {
        format!("{}{name}", self.root)
    }
}

/// By its address alone: what a name leads to is not this machine's to say.
fn is_loopback(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(endpoint: &str) -> Place<'_> {
        Place {
            endpoint,
            region: "us-east-1",
            bucket: "archive",
            folder: "",
            style: Style::Path,
            plain: PlainHttp::ToLoopback,
        }
    }

    #[test]
    fn plain_http_goes_to_loopback_alone_unless_it_is_allowed() {
        let mapped = "http://[::ffff:127.0.0.1]:9000";
        for good in ["https://s3.example", "http://127.0.0.1:9000", "http://[::1]:9000", mapped] {
            assert!(Address::of(&place(good)).is_ok(), "{good}");
        }
        for bad in ["http://s3.example", "http://192.0.2.1", "http://127.0.0.1.example"] {
            let error = Address::of(&place(bad)).unwrap_err();
            assert!(error.to_string().contains("plain http"), "{bad}: {error}");
            let plain = PlainHttp::Allowed;
            assert!(Address::of(&Place { plain, ..place(bad) }).is_ok(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let bad =
            ["", "s3.example", "ftp://s3.example", "https://", "https://me:secret@s3.example"];
        for endpoint in bad.into_iter().chain(["https://s3.example?x", "https://s3.example#x"]) {
            let error = Address::of(&place(endpoint)).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{endpoint}: {error}");
        }
        let good = place("https://s3.example");
        for bucket in ["", "a", "UPPER", "a/b", "a..b", "a?b"] {
            assert!(Address::of(&Place { bucket, ..good }).is_err(), "{bucket}");
        }
        for folder in ["/", "/a", "a/", "a//b", "../a", "A"] {
            assert!(Address::of(&Place { folder, ..good }).is_err(), "{folder}");
        }
    }

    #[test]
    fn keys_begin_with_the_folder_and_hosts_are_named_as_they_are_signed() {
        let address = Address::of(&Place {
            folder: "mezame/main",
            style: Style::VirtualHost,
            ..place("https://s3.example:8443")
        });
        let address = address.unwrap();
        let name = ObjectName::parse("packs/a").unwrap();
        assert_eq!(address.key(&name), "mezame/main/packs/a");
        assert_eq!(address.authority, "archive.s3.example:8443");
        assert_eq!((&*address.host, address.port), ("archive.s3.example", 8443));
        let v6 = Address::of(&place("http://[::1]:9000")).unwrap();
        assert_eq!((&*v6.host, &*v6.authority), ("::1", "[::1]:9000"));
    }
}
