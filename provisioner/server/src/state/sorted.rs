//! Lists of records sorted by id: looked up in logarithmic time, edited without being built anew.
//!
//! One change among 100,000 records costs a copy of 100,000 pointers and no look at a record.

use std::{collections::BTreeMap, sync::Arc};

use mezame_model::{Instance, InstanceId, Network, NetworkId, Port, PortId};

/// A record with an id.
pub(crate) trait Identified {
    type Id: Ord;
    fn id(&self) -> &Self::Id;
}

impl Identified for Network {
    type Id = NetworkId;
    fn id(&self) -> &NetworkId {
        &self.id
    }
}

impl Identified for Port {
    type Id = PortId;
    fn id(&self) -> &PortId {
        &self.id
    }
}

impl Identified for Instance {
    type Id = InstanceId;
    fn id(&self) -> &InstanceId {
        &self.id
    }
}

/// What is new, changed (Some) or gone (None), by id.
#[derive(Default)]
pub(super) struct Edits {
    pub(super) networks: BTreeMap<NetworkId, Option<Arc<Network>>>,
    pub(super) ports: BTreeMap<PortId, Option<Arc<Port>>>,
    pub(super) instances: BTreeMap<InstanceId, Option<Arc<Instance>>>,
}

impl Edits {
    pub(super) fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.ports.is_empty() && self.instances.is_empty()
    }
}

/// The record with an id.
pub(crate) fn find<'l, T: Identified>(list: &'l [Arc<T>], id: &T::Id) -> Option<&'l Arc<T>> {
    list.binary_search_by(|record| record.id().cmp(id)).ok().map(|at| &list[at])
}

/// The list with the edits done.
pub(super) fn edit<T: Identified>(
    list: &[Arc<T>],
    edits: BTreeMap<T::Id, Option<Arc<T>>>,
) -> Vec<Arc<T>> {
    let mut edited = Vec::with_capacity(list.len() + edits.len());
    let mut rest = list;
    for (id, change) in edits {
        // A search in what is left, so that few edits look at few records.
        let at = rest.partition_point(|record| *record.id() < id);
        let (before, from) = rest.split_at(at);
        edited.extend_from_slice(before);
        rest = match from.split_first() {
            Some((same, after)) if *same.id() == id => after,
            _ => from,
        };
        edited.extend(change);
    }
    edited.extend_from_slice(rest);
    edited
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Item(u8, u32);

    impl Identified for Item {
        type Id = u8;
        fn id(&self) -> &u8 {
            &self.0
        }
    }

    proptest! {
        #[test]
        fn editing_a_list_is_the_same_as_editing_a_map(
            before in proptest::collection::btree_map(any::<u8>(), any::<u32>(), 0..40),
            changes in proptest::collection::btree_map(any::<u8>(), any::<Option<u32>>(), 0..40),
        ) {
            let list: Vec<_> = before.iter().map(|(id, v)| Arc::new(Item(*id, *v))).collect();
            let edits = changes.iter().map(|(id, v)| (*id, v.map(|v| Arc::new(Item(*id, v)))));
            let edited = edit(&list, edits.collect());
            let mut expected = before.clone();
            for (id, change) in &changes {
                match change {
                    Some(value) => { expected.insert(*id, *value); }
                    None => { expected.remove(id); }
                }
            }
            let pairs: Vec<_> = edited.iter().map(|item| (item.0, item.1)).collect();
            prop_assert_eq!(pairs, expected.into_iter().collect::<Vec<_>>());
            for item in &list {
                if !changes.contains_key(&item.0) {
                    let kept = find(&edited, &item.0).unwrap();
                    prop_assert!(Arc::ptr_eq(kept, item), "an unchanged record is the same Arc");
                }
            }
        }
    }
}
