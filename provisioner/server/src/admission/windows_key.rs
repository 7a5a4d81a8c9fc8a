//! Reading the `windows_keys` of an instance: asks for passwords in the form of Google's tools, with
//! Google's names.

use base64::{Engine, engine::general_purpose::STANDARD};
use mezame_model::{WindowsKey, date};

use super::{
    form::{Node, Object},
    instance::one_of,
};

/// The fields of an ask.
pub(crate) const FIELDS: &[&str] =
    &["userName", "modulus", "exponent", "expireOn", "email", "hashFunction"];

/// The longest name of an account of Windows.
const NAME_MAX: usize = 20;

/// Reads one, noting every fault.
pub(super) fn read(node: &Node<'_>) -> Option<WindowsKey> {
    let object = Object::open(node, FIELDS)?;
    let user_name = object.required("userName", "say whose password is asked for", read_name);
    let modulus = object.required("modulus", "give the key's modulus in base64", |n| {
        read_number(n, WindowsKey::MODULUS_MIN, WindowsKey::MODULUS_MAX)
    });
    let exponent =
        object.required("exponent", "give the key's exponent in base64", |n| read_number(n, 1, 4));
    let expire_on =
        object.required("expireOn", "say until when the ask is to be answered", read_time);
    let email = object.field("email", read_email).optional();
    let hash_function = object
        .field("hashFunction", |n| one_of(n, &WindowsKey::HASHES.map(|name| (name, name))))
        .optional();
    Some(WindowsKey {
        user_name: user_name?,
        modulus: modulus?,
        exponent: exponent?,
        expire_on: expire_on?,
        email: email?,
        hash_function: hash_function?.map(Box::from),
    })
}

fn read_name(node: &Node<'_>) -> Option<Box<str>> {
    let text = node.text(256)?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if text.len() > NAME_MAX || !begins || text.ends_with('.') || !text.bytes().all(fits) {
        return node.fault(
            "a user of Windows has 1 to 20 letters, digits, '_', '-' and '.', a letter or '_' \
             first and no '.' last",
            "choose another user",
        );
    }
    Some(text.into())
}

/// An odd whole number of so many bytes, zeros before it not counted.
fn read_number(node: &Node<'_>, least: usize, most: usize) -> Option<Box<str>> {
    let text = node.text(2048)?;
    let Ok(bytes) = STANDARD.decode(text) else {
        return node.fault("this is not base64", "encode the number's bytes with `base64 -w0`");
    };
    let length = bytes.iter().skip_while(|byte| **byte == 0).count();
    let is_odd = bytes.last().is_some_and(|byte| byte % 2 == 1);
    if !(least..=most).contains(&length) || !is_odd {
        return node.fault(
            format!("this is no odd number of {least} to {most} bytes"),
            "give a number of an RSA key of 2048 to 4096 bits, the most significant byte first",
        );
    }
    Some(text.into())
}

fn read_time(node: &Node<'_>) -> Option<Box<str>> {
    let text = node.text(64)?;
    if date::seconds(text).is_none() {
        return node.fault(
            "this is no time by RFC 3339",
            "give one such as 2026-11-26T05:24:30Z (`date -u +%FT%TZ -d '+5 min'`)",
        );
    }
    Some(text.into())
}

fn read_email(node: &Node<'_>) -> Option<Box<str>> {
    let text = node.text(320)?;
    if text.chars().any(char::is_control) {
        return node.fault("this has control characters", "leave them out");
    }
    Some(text.into())
}
