//! A store in memory, for tests of what uses an archive: gone with the process.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Listed, ObjectName, Store, StoreError};

/// Objects in a map.
#[derive(Debug, Default)]
pub struct Memory(Mutex<BTreeMap<ObjectName, Arc<[u8]>>>);

impl Memory {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectName, Arc<[u8]>>> {
        // Each change is one call of the map: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, name: &ObjectName) -> Result<Arc<[u8]>, StoreError> {
        let found = self.objects().get(name).cloned();
        found.ok_or_else(|| StoreError::Missing { name: name.clone() })
    }
}

impl Store for Memory {
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        let mut objects = self.objects();
        if objects.contains_key(name) {
            return Err(StoreError::Exists { name: name.clone() });
        }
        objects.insert(name.clone(), bytes.into());
        Ok(())
    }

    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.objects().insert(name.clone(), bytes.into());
        Ok(())
    }

    fn read(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        let object = self.object(name)?;
        if object.len() as u64 > limit {
            return Err(StoreError::too_long(name));
        }
        Ok(object.to_vec())
    }

    fn read_at(&self, name: &ObjectName, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let object = self.object(name)?;
        let part = usize::try_from(offset)
            .ok()
            .and_then(|start| object.get(start..start.checked_add(buffer.len())?))
            .ok_or_else(|| StoreError::Damaged {
                name: name.clone(),
                source: io::ErrorKind::UnexpectedEof.into(),
            })?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let objects = self.objects();
        let listed = objects.iter().filter(|(name, _)| name.as_str().starts_with(prefix));
        Ok(listed
            .map(|(name, bytes)| Listed { name: name.clone(), length: bytes.len() as u64 })
            .collect())
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.objects().remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_the_contract() {
        crate::archive::store::contract::check(&|| Box::new(Memory::new()));
    }
}
