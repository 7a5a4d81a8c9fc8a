//! An operator's seed: text to documents with places, documents to admission.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mezame_cli::seed::{self, Reading};
use mezame_provisioner::Rehearsal;
use serde_json::Value;

static REHEARSAL: LazyLock<Rehearsal> =
    LazyLock::new(|| Rehearsal::new().expect("keys for an installation"));

/// JSON that is longer may be refused for its length when it is read again.
const COMPARED: usize = 64 << 10;

fuzz_target!(init: {
    // Making an installation's keys takes longer than an input may.
    LazyLock::force(&REHEARSAL);
}, |input: &[u8]| {
    let Reading { documents, faults } = seed::read(input);
    for fault in &faults {
        assert!(!fault.message.is_empty(), "a fault without a message");
    }
    if !faults.is_empty() {
        return;
    }
    let values: Vec<Value> = documents.iter().map(|one| one.root.to_value()).collect();
    // JSON is a part of YAML: what was read once is read the same again.
    let json = serde_json::to_vec(&values).expect("plain values are JSON");
    if json.len() <= COMPARED {
        let again = seed::read(&json);
        assert!(again.faults.is_empty(), "its JSON is not read: {:?}", again.faults);
        let again: Vec<Value> = again.documents.iter().map(|one| one.root.to_value()).collect();
        assert_eq!(again, values, "its JSON is read as something else");
    }
    for fault in REHEARSAL.faults(&values) {
        assert!(!fault.message.is_empty(), "a fault without a message");
        // Whatever path the control plane names, a place is found for it.
        let _ = documents[fault.document].root.locate(&fault.path).place();
    }
});
