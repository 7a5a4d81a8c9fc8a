//! Volumes' keys, from the operator's command to the guest that opens its root with one.
//!
//! See docs/encrypted-roots.md.

mod guest;
mod release;

use std::path::Path;

use mezame_tests::operator::Operator;
use serde_json::Value;

/// Gives the tenant's guest the key `root`, as it stands in a file.
fn create(operator: &Operator, project: &str, key: &Path, more: &[&str]) {
    let file = key.to_str().unwrap();
    let words = ["key", "create", "guest", "root", "-q", "-p", project, "--key-file", file];
    operator.run(&[&words, more].concat()).unwrap();
}

/// What became of the guest's requests so far, the oldest first: `released [1]`, or why not.
fn audit(operator: &Operator, project: &str) -> Vec<String> {
    let text = operator.run(&["key", "audit", "guest", "-p", project, "-o", "json"]).unwrap();
    let requests: Vec<Value> = serde_json::from_str(&text).unwrap();
    let outcome = |request: &Value| {
        let outcome = &request["request"]["outcome"];
        match outcome["withheld"].as_str() {
            Some(why) => why.to_owned(),
            None => format!("released {}", outcome["released"]),
        }
    };
    requests.iter().rev().map(outcome).collect()
}
