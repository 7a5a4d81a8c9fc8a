//! The gate: what keeps a guest from going over while its memory is copied, for as long as is wanted.
//!
//! QEMU lets a guest go over once what is left can be sent within its downtime limit. A limit of zero
//! alone does not keep it: an idle guest has nothing left. So an empty node with a dirty bitmap of one
//! bit is sent with it, which is never sent before the guest stands still: something is always
//! left. The gate is opened by giving a limit.
//!
//! The bitmap's name, the mark, has the migration's number and comes with the guest: so the destination
//! knows by which one a guest has come. It says too whether the guest ran when the migration began.
//! What becomes of that is noted on the source alone, in the name of a bitmap that is not sent.
//!
//! After QEMU's migration/migration.c (`migration_iteration_run`) and
//! migration/block-dirty-bitmap.c (`dirty_bitmap_state_pending`, `add_bitmaps_to_list`).

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::qmp::{Qmp, QmpError, block::BitmapChange, migration::GATE_NODE as NODE};

const RAN: &str = "ran";
const STOOD: &str = "stood";
const RUNS: &str = "runs";
const STANDS: &str = "stands";
/// A node's least length, and a bitmap's least granularity: one bit.
const LENGTH: u32 = 512;

/// By which migration a guest comes or goes, and whether it ran when that began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) number: u64,
    pub(super) did_run: bool,
}

impl Mark {
    fn name(self) -> String {
        format!("{}-{:016x}", if self.did_run { RAN } else { STOOD }, self.number)
    }

    fn parse(name: &str) -> Option<Self> {
        let (ran, number) = name.split_once('-')?;
        let number = u64::from_str_radix(number, 16).ok()?;
        let mark = Self { number, did_run: ran == RAN };
        (mark.name() == name).then_some(mark)
    }
}

/// What is there of a gate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// None where the bitmap has not come.
    pub(super) mark: Option<Mark>,
    /// Whether the guest ran, as it was noted last.
    noted: Option<bool>,
    /// All bitmaps' names.
    names: Vec<String>,
}

impl Found {
    /// Whether the guest ran when that was seen last.
    pub(super) fn did_run(&self) -> Option<bool> {
        self.noted.or(self.mark.map(|mark| mark.did_run))
    }
}

pub(super) fn find(qmp: &mut Qmp) -> Result<Option<Found>, QmpError> {
    let nodes = qmp.nodes()?;
    let node = nodes.into_iter().find(|node| node.name == NODE);
    Ok(node.map(|node| {
        let names: Vec<String> =
            node.bitmaps.into_iter().filter_map(|bitmap| bitmap.name).collect();
        let noted = names.iter().find_map(|name| match name.as_str() {
            RUNS => Some(true),
            STANDS => Some(false),
            _ => None,
        });
        Found { mark: names.iter().find_map(|name| Mark::parse(name)), noted, names }
    }))
}

/// Adds the node, into which the bitmap can come.
pub(super) fn add_node(qmp: &mut Qmp) -> Result<(), QmpError> {
    let node = json!({ "driver": "null-co", "node-name": NODE, "size": LENGTH });
    qmp.execute("blockdev-add", node).map(drop)
}

/// Adds the bitmap, and says how QEMU is told to send it.
pub(super) fn add_bitmap(qmp: &mut Qmp, mark: Mark) -> Result<Value, QmpError> {
    let name = mark.name();
    qmp.change_bitmaps([(NODE, &add(&name))])?;
    Ok(json!({ "node-name": NODE, "alias": NODE, "bitmaps": [{ "name": name, "alias": name }] }))
}

/// Notes whether the guest runs, for who goes on where this process is stopped.
pub(super) fn note(qmp: &mut Qmp, does_run: bool) -> Result<(), QmpError> {
    let Some(found) = find(qmp)? else { return Ok(()) };
    if found.did_run() == Some(does_run) {
        return Ok(());
    }
    let (new, old) = if does_run { (RUNS, STANDS) } else { (STANDS, RUNS) };
    // Who is stopped in between leaves none, and the mark's word counts.
    if found.names.iter().any(|name| name == old) {
        qmp.change_bitmaps([(NODE, &BitmapChange::Remove(old.into()))])?;
    }
    qmp.change_bitmaps([(NODE, &add(new))])
}

fn add(name: &str) -> BitmapChange {
    BitmapChange::Add { name: name.into(), granularity: LENGTH, persistent: false }
}

/// Removes all of it, once QEMU has let go of the bitmap.
pub(super) fn remove(qmp: &mut Qmp) -> Result<(), QmpError> {
    const BOUND: Duration = Duration::from_secs(10);
    let begin = Instant::now();
    while let Some(found) = find(qmp)? {
        let removed = match found.names.first() {
            Some(name) => qmp.change_bitmaps([(NODE, &BitmapChange::Remove(name.clone()))]),
            None => qmp.execute("blockdev-del", json!({ "node-name": NODE })).map(drop),
        };
        match removed {
            Err(QmpError::Refused { .. }) if begin.elapsed() < BOUND => {
                thread::sleep(Duration::from_millis(5));
            }
            removed => removed?,
        }
    }
    Ok(())
}

#[test]
fn a_mark_is_read_as_it_was_written_and_no_other_name_is_one() {
    for mark in [Mark { number: 7, did_run: true }, Mark { number: u64::MAX, did_run: false }] {
        assert_eq!(Mark::parse(&mark.name()), Some(mark));
    }
    for name in
        [RAN, STOOD, RUNS, "ran-7", "stood-", "runs-0000000000000007", "ran-+000000000000007"]
    {
        assert_eq!(Mark::parse(name), None, "{name}");
    }
}
