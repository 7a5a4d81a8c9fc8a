//! `#cloud-config` of any bytes, read by the agent.

#![no_main]

use guest_agent::user_data::{cloud_config, merge, yaml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(tree) = yaml::parse(input) else { return };
    let rule = merge::Rule::of(&tree).unwrap_or_default();
    // A part that is merged onto itself by its own rule, as two parts of one message may be.
    let merged = rule.merge(tree.clone(), tree.clone());
    cloud_config::read(&merged);
    let config = cloud_config::read(&tree);
    for skipped in &config.skipped {
        assert!(!skipped.reason.is_empty(), "a key skipped without a reason");
    }
});
