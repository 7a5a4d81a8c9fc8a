//! QEMU's objects beside its nodes: secrets, credentials, and who is let in.
//!
//! After <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> (`qom-list`, `object-del`).

use serde::Deserialize;
use serde_json::json;

use super::{Qmp, QmpError};

#[derive(Deserialize)]
struct Object {
    name: String,
}

impl Qmp {
    /// The ids of all objects that were added.
    pub fn objects(&mut self) -> Result<Vec<String>, QmpError> {
        let objects: Vec<Object> =
            self.ask("qom-list", json!({ "path": "/objects" }), "a list of objects")?;
        Ok(objects.into_iter().map(|object| object.name).collect())
    }

    /// Removes these objects, as far as they are there.
    pub fn remove_objects<'a>(
        &mut self,
        ids: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), QmpError> {
        let there = self.objects()?;
        let mut ids = ids.into_iter().filter(|id| there.iter().any(|name| name == id));
        ids.try_for_each(|id| self.execute("object-del", json!({ "id": id })).map(drop))
    }
}
