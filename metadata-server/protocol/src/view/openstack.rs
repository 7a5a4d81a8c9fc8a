//! OpenStack nova's metadata service.
//!
//! ```text
//! GET  /openstack                         the versions, a line each
//! GET  /openstack/VERSION/                the files that the version has
//! GET  /openstack/VERSION/meta_data.json  and user_data, vendor_data.json, network_data.json, …
//! POST /openstack/VERSION/password        a password that the guest made, encrypted, once
//! ```
//!
//! Asked for by cloud-init, cloudbase-init, and what else is made for nova's guests. These crawl
//! EC2's tree too (afterburn takes even the instance's id from there), so whoever has this dialect
//! is answered in that one as well. None of them knows session tokens.
//!
//! Not here: `content/NNNN`, since no file is ever put into a guest and so none is listed; and
//! `admin_pass`, which nobody here has in clear.
//!
//! Follows "Metadata service" in nova's user guide and administrator's guide.

mod meta_data;
mod network_data;
mod password;
mod vendor_data;

use crate::{
    policy::Permit,
    request::{Method, Request},
    respond::Answer,
    tree::{Body, Directory, Entry, Family, Label, Node, Scope, family, leaf, leaf_if},
};

/// The versions that are listed, oldest first; the index of each is its edition.
const VERSIONS: [&str; 10] = [
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "latest",
];

/// Editions that added something, by the release of OpenStack that they came with. Those between
/// them (Ocata, Rocky) added fields of devices, of which we name none.
const FOLSOM: u8 = 0;
const GRIZZLY: u8 = 1;
const HAVANA: u8 = 2;
const LIBERTY: u8 = 3;
const NEWTON_ONE: u8 = 4;
const NEWTON_TWO: u8 = 5;
const VICTORIA: u8 = 8;

/// How many bytes of body a POST may have.
pub(crate) fn body_limit(request: &Request<'_>) -> usize {
    if is_password(request) { password::BODY_MAX } else { 0 }
}

/// Answers a permitted request below `/openstack`.
pub(crate) fn answer(
    permit: Permit,
    request: &Request<'_>,
    body: &[u8],
    scope: Scope<'_>,
) -> Answer {
    let reads = matches!(request.method(), Method::Get | Method::Head);
    // A leaf that takes a POST too. Only in the editions that have it; in others it is as unknown
    // as any path.
    if !reads && is_password(request) && ROOT.find(request.segments().skip(1), scope).is_some() {
        return match request.method() {
            Method::Post => password::take(body, &scope),
            _ => Answer::Reply(super::method_not_allowed("GET, HEAD, POST")),
        };
    }
    Answer::Reply(super::read(&ROOT, permit, request, scope, 1))
}

/// All of its files, for a disk. Nova's config drive has no `password`: it is the one file that is
/// written to, and nobody can write to a disk that is made anew.
pub(crate) fn files(scope: Scope<'_>, each: &mut dyn FnMut(String, Body)) {
    ROOT.leaves(scope, "openstack/", &mut |path, body| {
        if !path.ends_with("/password") {
            each(path, body);
        }
    });
}

/// Whether the path is the password's, in whatever version.
fn is_password(request: &Request<'_>) -> bool {
    let mut segments = request.segments();
    let ends = (segments.next(), segments.nth(1), segments.next());
    ends == (Some("openstack"), Some("password"), None)
}

/// What lies below `/openstack`.
static ROOT: Directory = Directory { entries: &ROOT_ENTRIES, label: Label::Slash, keep: true };

static ROOT_ENTRIES: [Entry; 1] = [family(
    FOLSOM,
    Family {
        members: |_, each| VERSIONS.iter().for_each(|version| each(version)),
        choose: |scope, segment| {
            let at = VERSIONS.iter().position(|version| *version == segment)?;
            Some(Scope { edition: u8::try_from(at).ok()?, ..scope })
        },
    },
    Node::Directory(&VERSION),
)];

/// Without a slash at its end: clients take the line for the version's name.
static VERSION: Directory = Directory { entries: &ENTRIES, label: Label::Bare, keep: true };

/// In the order in which nova lists them.
static ENTRIES: [Entry; 6] = [
    leaf("meta_data.json", FOLSOM, meta_data::read),
    leaf_if(
        "user_data",
        FOLSOM,
        |it| it.guest.instance.user_data.is_some(),
        |it| Body::data(it.guest.instance.user_data.as_ref()),
    ),
    leaf("password", GRIZZLY, password::read),
    leaf("vendor_data.json", HAVANA, vendor_data::read),
    leaf("network_data.json", LIBERTY, network_data::read),
    leaf("vendor_data2.json", NEWTON_TWO, vendor_data::read_by_provider),
];

#[cfg(test)]
mod tests;
