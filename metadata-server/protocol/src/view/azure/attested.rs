//! `/metadata/attested/document`: who the machine is, signed by the site.
//!
//! A third party gives a nonce, and believes what comes back with it. The signature is CMS with the
//! document inside, by the same key as EC2's identity document. A nonce has no character that
//! means something in JSON, so no choice of it makes another document than this one.
//!
//! A signature costs a millisecond, and the guest chooses what is signed. So moments are rounded to
//! a window, within which the same question has the same answer, and of other questions a window
//! has room for [`Signer::CHOSEN_MAX`].

use base64::{Engine, engine::general_purpose::STANDARD};
use mezame_model::date::Date;
use serde_json::{Value, json};

use super::{
    Fault, compute, json_body,
    version::{self, Version},
};
use crate::{
    identity_document::Signer,
    request::Request,
    tree::{Body, Scope},
};

/// The version in which it came.
const SINCE: &str = "2018-10-01";
/// How long a document is good for, in seconds: six hours, as Azure's is.
const LIFETIME: u64 = 6 * 60 * 60;
/// The longest nonce. Azure's have ten digits.
const NONCE_MAX: usize = 32;

/// The document with its signature.
pub(super) fn read(request: &Request<'_>, scope: &Scope<'_>, _: &[&str]) -> Result<Body, Fault> {
    let version = version::of(request, SINCE)?;
    let nonce = request.parameter("nonce").filter(|nonce| !nonce.is_empty());
    if nonce.is_some_and(|nonce| !is_nonce(nonce)) {
        return Err(Fault::Nonce);
    }
    let content = document(scope, version, nonce).to_string();
    let (signer, now) = (scope.context.signer, scope.context.now);
    let made = signer.chosen_signature(&scope.guest.instance.id, now, content.as_bytes())?;
    let signature = STANDARD.encode(signer.cms_of(content.as_bytes(), &made));
    Ok(json_body(&json!({ "encoding": "pkcs7", "signature": signature })))
}

fn is_nonce(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.len() <= NONCE_MAX && text.bytes().all(plain)
}

/// What is signed.
fn document(scope: &Scope<'_>, version: Version, nonce: Option<&str>) -> Value {
    let created = Signer::chosen_window(scope.context.now).0;
    let mut fields = json!({
        "nonce": nonce.map_or_else(|| moment_as_nonce(created), str::to_owned),
        "plan": compute::plan(),
        "timeStamp": {
            "createdOn": moment(created),
            "expiresOn": moment(created.saturating_add(LIFETIME)),
        },
        "vmId": compute::vm_id(scope.guest),
    });
    for (name, since, value) in [
        ("subscriptionId", "2019-04-30", compute::subscription_id(scope.guest)),
        ("sku", "2019-11-01", String::new()),
        ("licenseType", "2020-09-01", String::new()),
    ] {
        if version.has(since) {
            fields[name] = value.into();
        }
    }
    fields
}

/// As in `11/28/18 00:16:17 -0000`.
fn moment(seconds: u64) -> String {
    let Date { year, month, day, hour, minute, second } = Date::of(seconds);
    let year = year % 100;
    format!("{month:02}/{day:02}/{year:02} {hour:02}:{minute:02}:{second:02} -0000")
}

/// As in `20181128-001617`.
fn moment_as_nonce(seconds: u64) -> String {
    let Date { year, month, day, hour, minute, second } = Date::of(seconds);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}
