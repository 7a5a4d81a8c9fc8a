//! Whether a server does what an archive relies on, looked at when a store is opened.
//!
//! A server that ignores `If-None-Match: *` would let a session publish that was ended, and what
//! it needs be deleted; so it is refused before anything is written. Whether of two writers at
//! the same moment exactly one wins is tried too, but a server whose check and write are two steps
//! may pass: that has to be known of it. What a look leaves behind when it is killed is one small
//! object below `probe/`, which nothing reads.

use super::{S3, S3Error, put};
use crate::{
    archive::{
        id::ImageId,
        store::{ObjectName, s3::answer::Verdict},
    },
    environment::random,
};

/// Writers at the same moment.
const WRITERS: u8 = 4;

pub(super) fn probe(store: &S3) -> Result<(), S3Error> {
    let id = ImageId::new(random(&*store.environment)?);
    let name = format!("probe/{id}");
    let name = ObjectName::parse(&name).ok_or(S3Error::Address("no name for a probe"))?;
    let looked = look(store, &name);
    let removed = store.remove(&name);
    looked?;
    removed?;
    if store.fetch(&name, 64)?.is_some() {
        return Err(S3Error::Unfit("an object that was deleted is still there"));
    }
    Ok(())
}

fn look(store: &S3, name: &ObjectName) -> Result<(), S3Error> {
    let winner = race(store, name)?;
    let late = store.ask(&put(&store.address.key(name), b"later", true)?, 4096, false)?;
    let there = store.fetch(name, 64)?;
    if !matches!(late, Verdict::Taken) || there.as_deref() != Some(&[winner; 5]) {
        return Err(S3Error::Unfit(
            "it ignores If-None-Match: *, so one name could be given to two writers",
        ));
    }
    let mut part = [0; 2];
    if !store.fetch_at(name, 1, &mut part)? || part != [winner; 2] {
        return Err(S3Error::Unfit("it does not read parts of objects"));
    }
    let listed = store.names("probe/")?;
    if !listed.iter().any(|object| object.name == *name && object.length == 5) {
        return Err(S3Error::Unfit("an object that was written is in no list"));
    }
    Ok(())
}

/// Lets several write one name at once; gives the one who was told that he did.
fn race(store: &S3, name: &ObjectName) -> Result<u8, S3Error> {
    let key = store.address.key(name);
    let outcomes: Vec<Result<Verdict, S3Error>> = std::thread::scope(|scope| {
        let key = &key;
        let writers: Vec<_> = (0..WRITERS)
            .map(|who| scope.spawn(move || store.ask(&put(key, &[who; 5], true)?, 4096, true)))
            .collect();
        let lost = || Err(S3Error::Answer("a thread of the probe is gone"));
        writers.into_iter().map(|writer| writer.join().unwrap_or_else(|_| lost())).collect()
    });
    let (mut winners, mut is_unsure) = (Vec::new(), false);
    for (who, outcome) in (0..).zip(outcomes) {
        match outcome? {
            Verdict::Done(_) => winners.push(who),
            Verdict::Taken => {}
            // It may be the one that is there.
            Verdict::Unsure(_) => is_unsure = true,
            other => return Err(super::unexpected(other)),
        }
    }
    match winners[..] {
        [winner] => Ok(winner),
        [] if is_unsure => {
            let there = store.fetch(name, 64)?;
            let winner = there.as_deref().and_then(<[u8]>::first).copied();
            winner.ok_or(S3Error::Answer("four answers of four were lost"))
        }
        [] => Err(S3Error::Unfit("of four writers of one name none was let")),
        _ => Err(S3Error::Unfit(
            "it let two writers have one name: it ignores If-None-Match: *, or is not atomic",
        )),
    }
}
