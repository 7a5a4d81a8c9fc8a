//! How much of the table of jobs schedules take: where many are due at once, what operators ask for
//! finds room.

use super::Schedules;

impl Schedules {
    /// Whether as many are at work as may be. Where images are away, whoever begins one is told so.
    pub(super) async fn has_its_share(&self) -> bool {
        let Ok(images) = self.images.images().await else { return false };
        let all = self.control.all_schedules();
        let at_work = all.iter().filter(|record| record.is_running()).count();
        at_work >= images.table().most_scheduled()
    }
}
