//! Amazon EC2's instance metadata, both versions of the service.
//!
//! Asked for by cloud-init, cloudbase-init, afterburn, ignition, the BSDs' boot scripts, Amazon's
//! agents and SDKs. One tree with the edition of each entry, so that every version of the path
//! serves what EC2's version has. Directories answer with and without a slash at the end, and so
//! do leaves, as scripts write them.
//!
//! Not here: `iam/` (no roles), `spot/`, `autoscaling/`, `public-keys` as CloudStack wants them.
//!
//! Follows "Instance metadata categories" and "Use IMDSv2" in the Amazon EC2 User Guide.

mod config_drive;
mod identity;
mod interfaces;
mod keys;
mod meta_data;

use crate::{
    policy::Permit,
    request::Request,
    response::Response,
    tree::{Body, Directory, Entry, Label, Scope, directory, leaf_if},
};

/// The versions that are listed, oldest first; the index of each is its edition.
pub(crate) const VERSIONS: [&str; 8] = [
    "1.0",
    "2009-04-04",
    "2016-09-02",
    "2018-09-24",
    "2019-10-01",
    "2021-01-03",
    "2021-03-23",
    "latest",
];

/// Editions, by the first listed version that has what EC2 added since the one before.
const V1_0: u8 = 0;
const V2009: u8 = 1;
const V2016: u8 = 2;
const V2018: u8 = 3;
const V2019: u8 = 4;
const V2021_01: u8 = 5;
const V2021_03: u8 = 6;

/// The tree, for the tests.
#[cfg(test)]
pub(crate) fn root() -> &'static Directory {
    &ROOT
}

/// Answers a permitted request below one of [`VERSIONS`].
pub(crate) fn answer(permit: Permit, request: &Request<'_>, mut scope: Scope<'_>) -> Response {
    let version = request.segments().next().unwrap_or_default();
    let edition = VERSIONS.iter().position(|known| *known == version).unwrap_or_default();
    scope.edition = edition as u8;
    super::read(&ROOT, permit, request, scope, 1)
}

pub(crate) use config_drive::files;

/// What lies below a version.
static ROOT: Directory = Directory { entries: &ROOT_ENTRIES, label: Label::Bare, keep: true };

static ROOT_ENTRIES: [Entry; 3] = [
    directory("dynamic", V2009, &DYNAMIC),
    directory("meta-data", V1_0, &meta_data::META_DATA),
    leaf_if(
        "user-data",
        V1_0,
        |it| it.guest.instance.user_data.is_some(),
        |it| Body::data(it.guest.instance.user_data.as_ref()),
    ),
];

static DYNAMIC: Directory = Directory { entries: &DYNAMIC_ENTRIES, label: Label::Bare, keep: true };

static DYNAMIC_ENTRIES: [Entry; 1] = [directory("instance-identity", V2009, &identity::IDENTITY)];
