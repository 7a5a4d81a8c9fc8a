//! A store in an object store that speaks S3: AWS, Ceph, MinIO, SeaweedFS and others.
//!
//! An archive's objects are objects of a bucket, below a folder. What makes a name be given once
//! is `PutObject` with `If-None-Match: *`, which
//! [AWS](https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html) has since
//! August 2024; a server that ignores it is found out when the store is opened, and refused
//! (`probe`). No clock and no time of the server's decides anything.
//!
//! ```text
//!             ┌─ 200 ──────────────────────────────────────────► Ok
//!  PUT, if ───┼─ 412 ─ nothing before was lost ────────────────► Exists
//!  there is   ├─ 412 ─ after a lost answer ─► the same bytes? ─► Ok, or Exists
//!  none       ├─ surely not done (SlowDown, no connection) ────► pause, again
//!             └─ lost (time, 500, broken) ─► read: same, other ► Ok, or Exists
//!                                                 └─ missing ──► pause, again
//!                                                                an image, a pack: Unsettled
//! ```
//! An image's record and a pack are never sent again once an answer was lost: they may have been
//! there, and been deleted by somebody whose deletion is still under way. A record has one name
//! only, so it is looked for until the time is up; a pack is written under another name. What else
//! there is may be sent again: nothing is lost where it comes back or is deleted twice.

pub mod address;
mod answer;
pub mod connection;
pub mod credentials;
pub mod error;
mod patience;
mod probe;
mod request;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use self::{
    address::Address,
    answer::Verdict,
    connection::{Answer, Lost, Pool},
    patience::Tries,
    request::Ask,
};
pub use self::{
    address::{Place, PlainHttp, Style},
    connection::Trust,
    credentials::Credentials,
    error::S3Error,
    patience::Patience,
};
use super::{Listed, ObjectName, Store, StoreError};
use crate::{archive::id::prefix, environment::Environment};

/// `PutObject` takes no more; an archive's objects are far shorter.
const LONGEST_PUT: u64 = 5 * 1024 * 1024 * 1024;
/// A thousand names with all that servers tell about each.
const LONGEST_PAGE: u64 = 8 * 1024 * 1024;
/// Of a thousand names each: more packs than 16 million would be 256 TiB.
const MOST_PAGES: usize = 16_384;
/// An object store as a store.
pub struct S3 {
    address: Address,
    credentials: Credentials,
    pool: Pool,
    patience: Patience,
    environment: Arc<dyn Environment>,
}

/// What an object of a name is, compared with what was to be written.
enum There {
    Same,
    Other,
    Nothing,
}

impl S3 {
    /// Opens the store, and looks whether it does what an archive needs: it writes, lists and
    /// deletes an object below `probe/`. The bucket must be there.
    pub fn open(
        place: &Place<'_>,
        credentials: Credentials,
        trust: &Trust,
        patience: Patience,
        environment: Arc<dyn Environment>,
    ) -> Result<Self, S3Error> {
        let store = Self::unproved(place, credentials, trust, patience, environment)?;
        probe::probe(&store)?;
        Ok(store)
    }

    fn unproved(
        place: &Place<'_>,
        credentials: Credentials,
        trust: &Trust,
        patience: Patience,
        environment: Arc<dyn Environment>,
    ) -> Result<Self, S3Error> {
        let address = Address::of(place)?;
        let pool = Pool::new(&address, trust)?;
        Ok(Self { address, credentials, pool, patience, environment })
    }

    /// Does one thing until the outcome is known, or the time is up. `Unsure` ends it only where
    /// `is_once`.
    fn ask(&self, ask: &Ask<'_>, limit: u64, is_once: bool) -> Result<Verdict, S3Error> {
        let mut tries = self.tries(ask.length(limit));
        loop {
            let error = match self.attempt(ask, limit, &tries)? {
                Verdict::Busy(error) => error,
                Verdict::Unsure(error) if !is_once => error,
                other => return Ok(other),
            };
            tries.pause(error, &*self.environment)?;
        }
    }

    fn tries(&self, length: u64) -> Tries {
        Tries::begin(self.patience, length, self.environment.now_ms())
    }

    fn attempt(&self, ask: &Ask<'_>, limit: u64, tries: &Tries) -> Result<Verdict, S3Error> {
        // One look at the clock for the decision and the signature: who is stopped in between
        // sends what the server finds too old.
        let now = self.environment.now_ms();
        let Some(left) = tries.left(now) else {
            return Ok(Verdict::Busy(S3Error::Silent(self.patience.whole)));
        };
        let time = self.patience.attempt + patience::on_the_way(ask.length(limit));
        let time = time.min(left);
        // Whole seconds, at least one.
        let valid = Duration::from_secs((time + request::SLACK).as_secs());
        let request = ask.signed(&self.address, &self.credentials, now, valid)?;
        Ok(match self.pool.send(request, limit, time) {
            Ok(answer) => Verdict::of(answer),
            // No other attempt would do better.
            Err(Lost::Unsure(error @ S3Error::TooLong(_))) => Verdict::Refused(error),
            Err(Lost::Unsent(error)) => Verdict::Busy(error),
            Err(Lost::Unsure(error)) => Verdict::Unsure(error),
        })
    }

    /// Writes an object that is not there; false where it is.
    fn write_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<bool, S3Error> {
        let key = self.address.key(name);
        let ask = put(&key, bytes, true)?;
        let mut tries = self.tries(ask.length(LONGEST_PAGE));
        // What came to be and was deleted must not come back.
        let is_image = name.as_str().starts_with(prefix::IMAGES);
        let is_pack = name.as_str().starts_with(prefix::PACKS);
        let mut is_unsure = false;
        loop {
            // What is only looked at after a lost answer may be looked at as often as one likes.
            if !(is_unsure && is_image) {
                match self.attempt(&ask, LONGEST_PAGE, &tries)? {
                    Verdict::Done(_) => return Ok(true),
                    Verdict::Taken if !is_unsure => return Ok(false),
                    Verdict::Taken => {}
                    Verdict::Busy(error) => {
                        tries.pause(error, &*self.environment)?;
                        continue;
                    }
                    Verdict::Unsure(error) => {
                        is_unsure = true;
                        tries.last = Some(error);
                    }
                    other => return Err(unexpected(other)),
                }
            }
            match self.compare(&key, bytes) {
                Ok(There::Same) => return Ok(true),
                Ok(There::Other) => return Ok(false),
                Ok(There::Nothing) => {}
                Err(error) => return Err(S3Error::Unsettled(error.into())),
            }
            let error = tries.last.take().unwrap_or(S3Error::Answer("taken, and not there"));
            if is_pack {
                return Err(S3Error::Unsettled(error.into()));
            }
            if let Err(error) = tries.pause(error, &*self.environment) {
                return Err(S3Error::Unsettled(error.into()));
            }
        }
    }

    fn compare(&self, key: &str, bytes: &[u8]) -> Result<There, S3Error> {
        match self.ask(&Ask::Get { key, range: None }, bytes.len() as u64, false)? {
            Verdict::Done(answer) if answer.body == bytes => Ok(There::Same),
            Verdict::Done(_) | Verdict::Refused(S3Error::TooLong(_)) => Ok(There::Other),
            Verdict::Missing => Ok(There::Nothing),
            other => Err(unexpected(other)),
        }
    }

    /// The whole object; None where there is none.
    fn fetch(&self, name: &ObjectName, limit: u64) -> Result<Option<Vec<u8>>, S3Error> {
        let key = self.address.key(name);
        let ask = Ask::Get { key: &key, range: None };
        let mut tries = self.tries(ask.length(limit));
        loop {
            match self.ask(&ask, limit, false)? {
                Verdict::Done(answer) if is_sound(&answer) => return Ok(Some(answer.body)),
                Verdict::Done(_) => tries.pause(S3Error::Damaged, &*self.environment)?,
                Verdict::Missing => return Ok(None),
                other => return Err(unexpected(other)),
            }
        }
    }

    /// Fills the buffer; false where there is no such object. An empty buffer asks for that alone.
    fn fetch_at(&self, name: &ObjectName, offset: u64, buffer: &mut [u8]) -> Result<bool, S3Error> {
        let key = self.address.key(name);
        let last = (buffer.len() as u64).max(1) - 1;
        let last = offset.checked_add(last).ok_or(S3Error::Answer("no object is as long"))?;
        let ask = Ask::Get { key: &key, range: Some((offset, last)) };
        match self.ask(&ask, (buffer.len() as u64).max(1), false)? {
            Verdict::Missing => Ok(false),
            Verdict::BeyondEnd | Verdict::Done(_) if buffer.is_empty() => Ok(true),
            Verdict::BeyondEnd => Err(S3Error::EndedEarly),
            Verdict::Done(answer) => {
                if answer.status.as_u16() != 206 || begins_at(&answer) != Some(offset) {
                    return Err(S3Error::Answer("another part of the object than was asked for"));
                }
                if answer.body.len() != buffer.len() {
                    return Err(S3Error::EndedEarly);
                }
                buffer.copy_from_slice(&answer.body);
                Ok(true)
            }
            other => Err(unexpected(other)),
        }
    }

    fn names(&self, prefix: &str) -> Result<Vec<Listed>, S3Error> {
        let wanted = format!("{}{prefix}", self.address.root);
        let no_list = || S3Error::Answer("this is no list of objects");
        let (mut found, mut token) = (Vec::new(), None::<String>);
        for _ in 0..MOST_PAGES {
            let ask = Ask::List { prefix: &wanted, token: token.as_deref() };
            let answer = match self.ask(&ask, LONGEST_PAGE, false)? {
                Verdict::Done(answer) => answer,
                other => return Err(unexpected(other)),
            };
            let text = std::str::from_utf8(&answer.body).map_err(|_| no_list())?;
            let page = rusty_s3::actions::ListObjectsV2::parse_response(text);
            let page = page.map_err(|_| no_list())?;
            for object in page.contents {
                if !object.key.starts_with(&wanted) {
                    return Err(S3Error::Answer("a list has names that were not asked for"));
                }
                // A name that no archive writes is somebody else's.
                let Some(name) = ObjectName::parse(&object.key[self.address.root.len()..]) else {
                    continue;
                };
                let length = object.size.ok_or(S3Error::Answer("a list lacks a length"))?;
                found.push(Listed { name, length });
            }
            match page.next_continuation_token {
                None => return Ok(found),
                next if next == token => return Err(S3Error::Answer("a list has no end")),
                next => token = next,
            }
        }
        Err(S3Error::Answer("a list is longer than an archive's"))
    }

    fn write_over(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), S3Error> {
        let key = self.address.key(name);
        match self.ask(&put(&key, bytes, false)?, LONGEST_PAGE, false)? {
            Verdict::Done(_) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    fn remove(&self, name: &ObjectName) -> Result<(), S3Error> {
        let key = self.address.key(name);
        match self.ask(&Ask::Delete { key: &key }, LONGEST_PAGE, false)? {
            Verdict::Done(_) | Verdict::Missing => Ok(()),
            other => Err(unexpected(other)),
        }
    }
}

impl Store for S3 {
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        match self.write_new(name, bytes) {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Exists { name: name.clone() }),
            Err(error @ S3Error::Unsettled(_)) => {
                Err(StoreError::Unsettled { name: name.clone(), source: error.into() })
            }
            Err(error) => Err(StoreError::io(name, error.into())),
        }
    }

    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_over(name, bytes).map_err(|error| StoreError::io(name, error.into()))
    }

    fn read(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        let read = self.fetch(name, limit).map_err(|error| not_read(name, error))?;
        read.ok_or_else(|| StoreError::Missing { name: name.clone() })
    }

    fn read_at(&self, name: &ObjectName, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        match self.fetch_at(name, offset, buffer) {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Missing { name: name.clone() }),
            // An answer that is too long is the server's fault here.
            Err(error @ S3Error::TooLong(_)) => Err(StoreError::io(name, error.into())),
            Err(error) => Err(not_read(name, error)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.names(prefix).map_err(|error| StoreError::io(prefix, error.into()))
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.remove(name).map_err(|error| StoreError::io(name, error.into()))
    }
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("S3").field("address", &self.address).finish_non_exhaustive()
    }
}

fn put<'a>(key: &'a str, bytes: &[u8], is_exclusive: bool) -> Result<Ask<'a>, S3Error> {
    if bytes.len() as u64 > LONGEST_PUT {
        return Err(S3Error::TooLong(LONGEST_PUT));
    }
    let checksum = request::checksum(bytes);
    Ok(Ask::Put { key, body: Bytes::copy_from_slice(bytes), checksum, is_exclusive })
}

/// Whether the body has the digest that the server names, if it names one of the whole.
fn is_sound(answer: &Answer) -> bool {
    let told = answer.headers.get(request::CHECKSUM).and_then(|value| value.to_str().ok());
    // With `-` it is one of an upload's parts, which nothing here makes.
    let told = told.filter(|told| !told.contains('-'));
    told.is_none_or(|told| told == request::checksum(&answer.body))
}

/// Where a part begins, by `Content-Range: bytes FIRST-LAST/LENGTH`.
fn begins_at(answer: &Answer) -> Option<u64> {
    let range = answer.headers.get(hyper::header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// Whether it is the object that is bad, or that the server can't be reached.
fn not_read(name: &ObjectName, error: S3Error) -> StoreError {
    match error {
        S3Error::TooLong(_) | S3Error::EndedEarly | S3Error::Damaged => {
            StoreError::Damaged { name: name.clone(), source: error.into() }
        }
        error => StoreError::io(name, error.into()),
    }
}

/// The error of a verdict that this request can't have.
fn unexpected(verdict: Verdict) -> S3Error {
    match verdict {
        Verdict::Busy(error) | Verdict::Unsure(error) | Verdict::Refused(error) => error,
        Verdict::Missing => S3Error::Answer("there is no such object"),
        Verdict::Taken => S3Error::Answer("it refuses for a condition that was not set"),
        Verdict::BeyondEnd => S3Error::Answer("it refuses for a range that was not set"),
        Verdict::Done(_) => S3Error::Answer("done, where that can't be"),
    }
}

#[cfg(test)]
mod tests;
