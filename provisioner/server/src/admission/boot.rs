//! Reading a port's `boot`: what its guest boots from the network.

use mezame_model::Boot;

use super::{
    form::{Node, Object},
    network::ADDRESS_MEND,
};

/// The fields.
pub(crate) const FIELDS: &[&str] = &["server", "file", "url"];

/// Reads them, noting every fault.
pub(super) fn read(node: &Node<'_>) -> Option<Boot> {
    let object = Object::open(node, FIELDS)?;
    let server = object
        .field("server", |n| {
            let address: std::net::IpAddr = n.parsed(ADDRESS_MEND)?;
            if address.is_unspecified() || address.is_multicast() {
                return n.fault("this can't be a server's address", ADDRESS_MEND);
            }
            Some(address)
        })
        .optional();
    // The field has 128 bytes and ends with a zero (RFC 2131, section 2).
    let file = object.field("file", |n| read_printable(n, 127)).optional();
    // An option's length is one byte (RFC 2132, section 2).
    let url = object
        .field("url", |n| {
            let text = read_printable(n, 255)?;
            if !text.contains("://") {
                let mend = "give one such as http://192.0.2.1/boot.efi";
                return n.fault("this is no URL: it has no '://'", mend);
            }
            Some(text)
        })
        .optional();
    Some(Boot { server: server?, file: file?, url: url? })
}

/// Printable ASCII without spaces: what firmware of every age reads alike.
fn read_printable(node: &Node<'_>, most: usize) -> Option<Box<str>> {
    let text = node.text(most)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return node.fault(
            "this is not printable ASCII without spaces",
            "write other characters of a URL as % and two hexadecimal digits",
        );
    }
    Some(text.into())
}
