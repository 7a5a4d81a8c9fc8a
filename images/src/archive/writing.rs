//! Packs, each written under a name that was never sent before.
//!
//! A store may not know whether it has written a pack (`Unsettled`). Sending it again under the same
//! name would be wrong: it may have come to be, and another collection may have deleted it, whose
//! deletion is still under way and would take the second one, which somebody counts on by
//! then. So it gets another name, and what may come of the first one is garbage.

use std::time::Duration;

use super::{Archive, ArchiveError, ObjectName, id::PackId, store::StoreError};

/// Names for one pack: of one request in six that is lost, it is one in ten million packs.
const NAMES: u32 = 9;
/// The first pause; each is twice the one before, so all together are 25 s.
const PAUSE: Duration = Duration::from_millis(100);

impl Archive {
    /// Writes a pack under the first of these names that the store knows to have written.
    pub(super) fn write_pack(
        &self,
        bytes: &[u8],
        mut name: impl FnMut() -> PackId,
    ) -> Result<(), ArchiveError> {
        let mut attempt = 1;
        loop {
            match self.store.put_new(&ObjectName::pack(name()), bytes) {
                Err(StoreError::Unsettled { .. }) if attempt < NAMES => {
                    std::thread::sleep(PAUSE * (1 << (attempt - 1)));
                    attempt += 1;
                }
                other => return Ok(other?),
            }
        }
    }
}
