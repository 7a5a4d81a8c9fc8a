//! Who may import whom: the layers of the workspace, checked on cargo's own graph, and the purity
//! of those parts that must know neither clock nor file system nor network.

use std::{collections::BTreeMap, path::Path};

use cargo_metadata::DependencyKind;

use crate::{
    code_of, metadata,
    paths::{module_of, paths},
    rust_files, workspace,
};

/// Each package and which others of the workspace it may be built with.
const LAYERS: &[(&str, &[&str])] = &[
    ("mezame-model", &[]),
    ("mezame-ebpf-common", &[]),
    ("mezame-ebpf-loader", &["mezame-ebpf-common"]),
    ("mezame-protocol", &["mezame-model"]),
    ("mezame-link-local", &["mezame-model"]),
    (
        "mezame-server",
        &["mezame-model", "mezame-protocol", "mezame-link-local", "mezame-ebpf-loader"],
    ),
    // The protocol is for disks, which hold the trees that guests are answered from.
    ("mezame-provisioner", &["mezame-model", "mezame-protocol", "mezame-images"]),
    ("mezame-cli", &["mezame-model"]),
    ("guest-agent", &["mezame-model"]),
    ("mezame-images", &["mezame-model"]),
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
    for name in ["mezame-model", "mezame-protocol", "mezame-link-local", "mezame-ebpf-common"] {
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

/// What a pure source doesn't name, nor anything below it.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "getrandom",
    "std::env",
    "std::fs",
    "std::os",
    "std::process",
    "std::thread",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "ring::rand::SystemRandom::new",
];

/// Whether a path is this one or below it, or is a glob that may bring it in.
fn reaches(path: &[String], other: &str) -> bool {
    let other: Vec<&str> = other.split("::").collect();
    match path.split_last() {
        Some((last, above)) if last == "*" => {
            above.iter().zip(&other).all(|(one, other)| one == other)
        }
        _ => path.len() >= other.len() && path.iter().zip(&other).all(|(one, other)| one == other),
    }
}

#[test]
fn pure_sources_know_no_clock_no_file_system_and_no_network() {
    let root = workspace();
    let mut pure: Vec<_> =
        ["metadata-server/model/src", "metadata-server/protocol/src", "ebpf/common/src"]
            .iter()
            .flat_map(|directory| rust_files(&root.join(directory)))
            .collect();
    for part in ["qmp/message", "volume/allocation", "volume/durability"] {
        pure.push(root.join(format!("images/src/{part}.rs")));
    }
    for part in ["plan", "doctor/judge"] {
        pure.push(root.join(format!("guest-agent/src/{part}.rs")));
        pure.extend(rust_files(&root.join(format!("guest-agent/src/{part}"))));
    }
    for part in ["qcow2", "vhdx", "vmdk"] {
        pure.push(root.join(format!("images/src/{part}.rs")));
    }
    for part in ["pack", "page", "record", "retention", "signature", "sweep/list", "sweep/plan"] {
        pure.push(root.join(format!("images/src/archive/{part}.rs")));
    }
    for part in ["disk", "extents", "name", "offer", "plan"] {
        pure.push(root.join(format!("images/src/backup/{part}.rs")));
    }
    let mut faults = Vec::new();
    for file in pure.iter().filter(|file| !is_test(file)) {
        // Where the file's own module is doesn't matter here.
        for path in paths(&code_of(file), &[]) {
            if IMPURE.iter().any(|impure| reaches(&path, impure)) {
                faults.push(format!("{} has {}", file.display(), path.join("::")));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn an_impure_name_is_found_in_every_form() {
    for code in [
        "use std::fs;",
        "use std::{fmt, fs};",
        "use std::{io, fs::{File, read}};",
        "use std::*;",
        "use std::time::*;",
        "use std::time::{self, Duration}; fn f() { time::Instant::now(); }",
        "use std::time::SystemTime as Wall; fn f() { Wall::now(); }",
        "fn f() { std::thread::yield_now() }",
        "fn f() { ::tokio::spawn(async {}) }",
    ] {
        let is_found =
            paths(code, &[]).iter().any(|path| IMPURE.iter().any(|impure| reaches(path, impure)));
        assert!(is_found, "{code}");
    }
    for code in ["use std::time::{Duration, Instant};", "use std::net::IpAddr; use crate::fs::A;"] {
        for path in paths(code, &[]) {
            assert!(!IMPURE.iter().any(|impure| reaches(&path, impure)), "{code}: {path:?}");
        }
    }
}

#[test]
fn views_never_import_each_other() {
    let sources = workspace().join("metadata-server/protocol/src");
    let files = rust_files(&sources.join("view"));
    let mut views: Vec<String> =
        files.iter().map(|file| module_of(file, &sources)[1].clone()).collect();
    views.dedup();
    assert!(views.len() >= 3, "three dialects at least: {views:?}");
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| !is_test(file)) {
        let module = module_of(file, &sources);
        for path in paths(&code_of(file), &module) {
            for other in views.iter().filter(|view| **view != module[1]) {
                if reaches(&path, &format!("crate::view::{other}")) {
                    faults.push(format!("{} has {}", file.display(), path.join("::")));
                }
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
