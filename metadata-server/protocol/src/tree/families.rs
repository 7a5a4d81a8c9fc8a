//! Families of entries that more than one dialect has: tags by their key, ports by their MAC or by
//! their place.
//!
//! Here, since views never import each other, and what a segment may be must not differ between
//! two of them. What lies below a member is each view's own.

use mezame_model::MacAddress;

use super::{Family, Item, Scope, is_plain_segment};

/// The instance's tags. One whose key can't be a path segment is left out, as EC2 refuses such
/// keys here.
pub(crate) const fn tags() -> Family {
    Family {
        members: |scope, each| {
            let keys = scope.guest.instance.tags.keys();
            keys.filter(|key| is_plain_segment(key)).for_each(each);
        },
        choose: |scope, segment| {
            let (key, _) = scope.guest.instance.tags.get_key_value(segment)?;
            is_plain_segment(key).then_some(Scope { item: Item::Name(key), ..scope })
        },
    }
}

/// The guest's ports by their MAC addresses; two ports of one guest never share one.
pub(crate) const fn ports_by_mac() -> Family {
    Family {
        members: |scope, each| {
            scope.guest.ports.iter().for_each(|it| each(&it.port.mac.to_string()));
        },
        choose: |scope, segment| {
            // Either case, and only with colons: one spelling of the path for each letter case.
            let mac = segment.parse::<MacAddress>().ok().filter(|_| !segment.contains('-'))?;
            let at = scope.guest.ports.iter().position(|it| it.port.mac == mac)?;
            Some(Scope { item: Item::Port(at), ..scope })
        },
    }
}

/// The guest's ports by their places, from 0.
pub(crate) const fn ports_by_place() -> Family {
    Family {
        members: |scope, each| {
            (0..scope.guest.ports.len()).for_each(|at| each(&at.to_string()));
        },
        choose: |scope, segment| {
            let at = place(segment).filter(|at| *at < scope.guest.ports.len())?;
            Some(Scope { item: Item::Port(at), ..scope })
        },
    }
}

/// A segment as a place in a list: digits, and in one spelling only.
pub(crate) fn place(segment: &str) -> Option<usize> {
    segment.parse::<usize>().ok().filter(|at| at.to_string() == segment)
}
