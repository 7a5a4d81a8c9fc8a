//! Who may import whom: the layers of the workspace, checked on cargo's own graph, and the purity
//! of those parts that must know neither clock nor file system nor network.

use std::{collections::BTreeMap, path::Path};

use cargo_metadata::DependencyKind;

use crate::{code_of, metadata, rust_files, workspace};

/// Each package and which others of the workspace it may be built with.
const LAYERS: &[(&str, &[&str])] = &[
    ("mezame-model", &[]),
    ("mezame-ebpf-common", &[]),
    ("mezame-ebpf-loader", &["mezame-ebpf-common"]),
    ("mezame-protocol", &["mezame-model"]),
    ("mezame-server", &["mezame-model", "mezame-protocol", "mezame-ebpf-loader"]),
    ("mezame-provisioner", &["mezame-model"]),
    ("mezame-cli", &["mezame-model"]),
    ("guest-agent", &["mezame-model"]),
    ("metadata-server", &["mezame-model", "mezame-server", "mezame-provisioner"]),
    ("xtask", &[]),
];

/// The harness and the bench look at everything from outside; nobody looks at them.
const OUTSIDE: &str = "tests";

#[test]
fn every_package_imports_only_what_its_layer_may() {
    let metadata = metadata();
    let root = workspace();
    let members: BTreeMap<String, bool> = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let path = package.manifest_path.as_std_path();
            (package.name.to_string(), path.starts_with(root.join(OUTSIDE)))
        })
        .collect();
    let mut faults = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.to_string();
        let allowed = LAYERS.iter().find(|(of, _)| *of == name).map(|(_, allowed)| *allowed);
        if allowed.is_none() && !members[&name] {
            faults.push(format!("{name} has no layer; give it one in this test"));
            continue;
        }
        for dependency in &package.dependencies {
            let Some(is_outside) = members.get(&dependency.name) else { continue };
            let is_allowed = match allowed {
                Some(allowed) if dependency.kind == DependencyKind::Development => {
                    // Tests may look at a layer's neighbours, never at the harness.
                    !is_outside || allowed.contains(&dependency.name.as_str())
                }
                Some(allowed) => allowed.contains(&dependency.name.as_str()),
                None => dependency.name != "xtask",
            };
            if !is_allowed {
                faults.push(format!("{name} imports {}", dependency.name));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Crates that a pure part can't be built with.
const RUNTIMES: &[&str] =
    &["tokio", "hyper", "hyper-util", "axum", "aya", "nix", "libc", "rusqlite", "rtnetlink"];

#[test]
fn pure_packages_have_no_runtime_among_their_dependencies() {
    let metadata = metadata();
    for name in ["mezame-model", "mezame-protocol", "mezame-ebpf-common"] {
        let package = metadata
            .workspace_packages()
            .into_iter()
            .find(|package| package.name.as_str() == name)
            .unwrap_or_else(|| panic!("the workspace has no {name}"));
        for dependency in &package.dependencies {
            assert!(
                dependency.kind == DependencyKind::Development
                    || !RUNTIMES.contains(&dependency.name.as_str()),
                "{name} is built with {}",
                dependency.name
            );
        }
    }
}

/// Words that a pure source doesn't have.
const IMPURE: &[&str] = &[
    "tokio::",
    "hyper::",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "File::open",
    "TcpStream",
    "UdpSocket",
    "Instant::now",
    "SystemTime::now",
    "SystemRandom::new",
    "getrandom",
];

#[test]
fn pure_sources_know_no_clock_no_file_system_and_no_network() {
    let root = workspace();
    let mut pure: Vec<_> =
        ["metadata-server/model/src", "metadata-server/protocol/src", "ebpf/common/src"]
            .iter()
            .flat_map(|directory| rust_files(&root.join(directory)))
            .collect();
    let plan = root.join("guest-agent/src/plan");
    pure.push(root.join("guest-agent/src/plan.rs"));
    if plan.is_dir() {
        pure.extend(rust_files(&plan));
    }
    let mut faults = Vec::new();
    for file in pure.iter().filter(|file| !is_test(file)) {
        let code = code_of(file);
        for word in IMPURE.iter().filter(|word| code.contains(**word)) {
            faults.push(format!("{} has {word}", file.display()));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn views_never_import_each_other() {
    let directory = workspace().join("metadata-server/protocol/src/view");
    let files = rust_files(&directory);
    let of = |file: &Path| {
        let relative = file.strip_prefix(&directory).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_string_lossy();
        first.trim_end_matches(".rs").to_owned()
    };
    let mut views: Vec<String> = files.iter().map(|file| of(file)).collect();
    views.dedup();
    assert!(views.len() >= 3, "three dialects at least: {views:?}");
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| !is_test(file)) {
        let own = of(file);
        let code = code_of(file);
        for other in views.iter().filter(|view| **view != own) {
            if ["view::", "super::"].iter().any(|from| code.contains(&format!("{from}{other}::"))) {
                faults.push(format!("{} imports the view {other}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn only_platform_selects_by_operating_system() {
    let directory = workspace().join("guest-agent/src");
    let mut faults = Vec::new();
    for file in rust_files(&directory) {
        let relative = file.strip_prefix(&directory).unwrap();
        if relative == Path::new("platform.rs") || is_test(&file) {
            continue;
        }
        let code = code_of(&file);
        for word in
            ["target_os", "target_family", "cfg(unix", "cfg(windows", "cfg!(unix", "cfg!(windows"]
        {
            if code.contains(word) {
                faults.push(format!("{} has {word}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

fn is_test(file: &Path) -> bool {
    // `fixture.rs` is a module of the tests alone: it would not compile outside `cfg(test)`.
    file.ends_with("tests.rs")
        || file.ends_with("fixture.rs")
        || file.components().any(|part| part.as_os_str() == "tests")
}
