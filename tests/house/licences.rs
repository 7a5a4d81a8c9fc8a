//! Every dependency's licence is one that anybody may build on.

use crate::metadata;

/// SPDX identifiers of permissive licences.
const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn every_dependency_has_a_permissive_licence() {
    let metadata = metadata();
    let mut faults = Vec::new();
    for package in &metadata.packages {
        let licence = package.license.as_deref().unwrap_or("none");
        if !is_permissive(licence) {
            faults.push(format!("{} {}: {licence}", package.name, package.version));
        }
    }
    assert!(metadata.packages.len() > 50, "cargo listed too few packages to be believed");
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Evaluates an SPDX expression: `AND` needs both sides, `OR` (and the old `/`) one of them.
fn is_permissive(expression: &str) -> bool {
    let text = expression.replace('/', " OR ");
    let mut tokens = text.replace('(', " ( ").replace(')', " ) ");
    tokens = tokens.replace(" WITH ", "_WITH_");
    let words: Vec<&str> = tokens.split_whitespace().collect();
    let mut at = 0;
    either(&words, &mut at) && at == words.len()
}

fn either(words: &[&str], at: &mut usize) -> bool {
    let mut is_good = both(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        is_good |= both(words, at);
    }
    is_good
}

fn both(words: &[&str], at: &mut usize) -> bool {
    let mut is_good = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        is_good &= one(words, at);
    }
    is_good
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let word = words.get(*at).copied();
    *at += 1;
    match word {
        Some("(") => {
            let is_good = either(words, at);
            *at += 1;
            is_good
        }
        Some(name) => PERMISSIVE.contains(&name.replace("_WITH_", " WITH ").as_str()),
        None => false,
    }
}

#[test]
fn expressions_are_evaluated_as_spdx_means_them() {
    for good in ["MIT", "MIT OR GPL-3.0", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
        assert!(is_permissive(good), "{good}");
    }
    for bad in
        ["GPL-3.0", "MIT AND GPL-3.0", "none", "", "(MIT OR Apache-2.0) AND MPL-2.0", "MIT )"]
    {
        assert!(!is_permissive(bad), "{bad}");
    }
}
