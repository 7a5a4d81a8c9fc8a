//! Events that nobody has asked for yet. Pure.
//!
//! Who is at the other end may have broken out of its guest and send what it likes, so that what is kept
//! is bounded by the memory that it takes, and not by its number alone: a list of zeros takes two bytes
//! of a line for each, and thirty times that here.

use std::collections::VecDeque;

use serde_json::Value;

use super::message::Event;

/// How many events wait to be asked for; of more, the oldest are dropped.
pub const EVENTS_KEPT: usize = 1024;

/// How much memory they take together, in bytes; beyond that the oldest are dropped, too.
const WEIGHT_KEPT: usize = 1 << 20;

/// How much one takes with what belongs to it; of a heavier one its name is kept, and of one that has no
/// name as short as that, nothing. QEMU's own take some hundreds.
const HEAVIEST: usize = 64 << 10;

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Events {
    kept: VecDeque<(Event, usize)>,
    weight: usize,
}

impl Events {
    /// Keeps one more.
    pub(super) fn keep(&mut self, mut event: Event) {
        if weight_of(&event) > HEAVIEST {
            event.data = Value::Null;
        }
        let weight = weight_of(&event);
        if weight > HEAVIEST {
            return;
        }
        self.weight += weight;
        self.kept.push_back((event, weight));
        while self.kept.len() > EVENTS_KEPT || self.weight > WEIGHT_KEPT {
            let Some((_, weight)) = self.kept.pop_front() else { return };
            self.weight -= weight;
        }
    }

    /// Takes the first that is wanted.
    pub(super) fn take(&mut self, is_wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        let at = self.kept.iter().position(|(event, _)| is_wanted(event))?;
        let (event, weight) = self.kept.remove(at)?;
        self.weight -= weight;
        Some(event)
    }

    /// Takes all of this name; whether there were any.
    pub(super) fn take_all(&mut self, name: &str) -> bool {
        let before = self.kept.len();
        self.kept.retain(|(event, _)| event.name != name);
        self.weight = self.kept.iter().map(|(_, weight)| weight).sum();
        self.kept.len() < before
    }
}

/// The memory that an event takes, in bytes, or a little more.
fn weight_of(event: &Event) -> usize {
    size_of::<(Event, usize)>() + event.name.len() + weight_within(&event.data)
}

/// The same of what a value has elsewhere. It is no deeper than the parser follows.
fn weight_within(value: &Value) -> usize {
    /// Of a map for each key: its length, and its place in the tree.
    const KEY: usize = 64;
    let one = |value| size_of::<Value>() + weight_within(value);
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(one).sum(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| KEY + key.len() + one(value)).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(name: &str, data: Value) -> Event {
        Event { name: name.into(), data }
    }

    #[test]
    fn what_is_kept_takes_no_more_memory_however_much_comes() {
        let mut events = Events::default();
        events.keep(event("RESET", json!({ "guest": true })));
        for _ in 0..200 {
            // Less than what is cut, and more than is kept in all.
            events.keep(event("E", vec![0; 1500].into()));
            let real: usize = events.kept.iter().map(|(event, _)| weight_of(event)).sum();
            assert!(events.weight == real && real <= WEIGHT_KEPT, "{real}");
        }
        assert!((10..200).contains(&events.kept.len()), "{}", events.kept.len());
        assert!(!events.take_all("RESET"), "the oldest one is there");
        assert!(events.take_all("E") && !events.take_all("E"));
        assert_eq!((events.kept.len(), events.weight), (0, 0));
    }

    #[test]
    fn of_one_that_is_too_heavy_the_name_is_kept_alone() {
        let mut events = Events::default();
        let nested = (0..100).fold(json!(0), |inner, _| json!([inner, "x".repeat(1000)]));
        for data in [vec![0; 1 << 20].into(), "x".repeat(1 << 20).into(), nested] {
            events.keep(event("RESET", data));
            assert!(events.weight < 1000, "{}", events.weight);
            let taken = events.take(|event| event.name == "RESET");
            assert_eq!(taken, Some(event("RESET", Value::Null)));
        }
        events.keep(event(&"x".repeat(1 << 20), Value::Null));
        assert_eq!((events.kept.len(), events.weight), (0, 0));
    }

    #[test]
    fn others_stay_where_one_is_taken() {
        let mut events = Events::default();
        for name in ["STOP", "RESET", "STOP"] {
            events.keep(event(name, json!({ "at": 1 })));
        }
        assert!(events.take(|event| event.name == "RESUME").is_none());
        assert_eq!(events.take(|event| event.name == "RESET").unwrap().name, "RESET");
        assert_eq!(events.kept.len(), 2);
        assert!(events.take_all("STOP"));
        assert_eq!(events.weight, 0);
    }
}
