//! Builds the eBPF object that is checked in, and tells whether it is of the source beside it.
//!
//! The kernel side needs `core` built for a target that rustup has nothing for, and a linker of
//! its own; so Debian's `rustc-web` (with the library's source) and bpf-linker are used, both on
//! the same LLVM. The bit code that rustc writes must not be newer than what the linker reads:
//! that is checked, not hoped for. The object holds no path of the machine and no debug
//! information beyond BTF, so that everybody who builds the same source gets the same bytes.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::debian_rust::{self, CARGO, RUSTC};

const LLVM: &str = "/usr/lib/llvm-22";
const LINKER_VERSION: &str = "0.13.0";
const TARGET: &str = "bpfel-unknown-none";

/// Where things are, from the workspace's root.
const PROGRAM: &str = "ebpf/program";
const OBJECT: &str = "ebpf/loader/program.bpf.o";
const DIGEST: &str = "ebpf/loader/program.bpf.digest";
/// What the object is made of.
const SOURCES: [&str; 5] = [
    "ebpf/common/Cargo.toml",
    "ebpf/common/src",
    "ebpf/program/Cargo.lock",
    "ebpf/program/Cargo.toml",
    "ebpf/program/src",
];

/// `cargo xtask ebpf`: builds the object anew and puts it in the place of the checked-in one; with
/// `check`, only says whether the checked-in one is of this source.
pub(crate) fn run(root: &Path, cache: &Path, check: bool) -> Result<()> {
    if check {
        verify_digest(root)?;
        println!("{OBJECT} is of the source in {PROGRAM}");
        return Ok(());
    }
    let built = build(root, cache)?;
    let object = root.join(OBJECT);
    fs::copy(&built, &object).with_context(|| format!("writing {}", object.display()))?;
    let digest = root.join(DIGEST);
    let text = format!("{}\n{}\n", source_digest(root)?, file_digest(&object)?);
    fs::write(&digest, text).with_context(|| format!("writing {}", digest.display()))?;
    println!("{OBJECT} is written ({} bytes)", fs::metadata(&object)?.len());
    Ok(())
}

/// Builds the object from source, and gives its path below the workspace's target directory. The
/// checked-in one stays. Tests run it when `MEZAME_EBPF_OBJECT` names that path.
pub(crate) fn build(root: &Path, cache: &Path) -> Result<PathBuf> {
    let linker = ensure_linker(cache)?;
    check_llvm()?;
    let target_directory = root.join("target/ebpf");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut search = OsString::from(linker.parent().unwrap_or(Path::new("/")));
    search.push(":");
    search.push(path);
    let mut cargo = debian_rust::cargo("build");
    cargo
        .current_dir(root.join(PROGRAM))
        .args(["--release", "--locked", "--target", TARGET, "-Z", "build-std=core"])
        .env("CARGO_TARGET_DIR", &target_directory)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root)?.join("\x1f"))
        .env("PATH", search);
    let status = cargo.status().with_context(|| format!("running {CARGO}"))?;
    ensure!(status.success(), "the eBPF program can't be built ({status})");
    let linked = target_directory.join(TARGET).join("release/mezame-ebpf-program");
    let object = target_directory.join("program.bpf.o");
    strip(&linked, &object)?;
    Ok(object)
}

/// Says whether the checked-in object was built from the source beside it, and is whole.
pub(crate) fn verify_digest(root: &Path) -> Result<()> {
    let path = root.join(DIGEST);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut lines = text.lines();
    if lines.next() != Some(&*source_digest(root)?) {
        bail!("{OBJECT} is not of the source in {PROGRAM}: run `cargo xtask ebpf`");
    }
    if lines.next() != Some(&*file_digest(&root.join(OBJECT))?) {
        bail!("{OBJECT} is not what was built: run `cargo xtask ebpf`");
    }
    Ok(())
}

fn flags(root: &Path) -> Result<Vec<String>> {
    let mut flags = vec![
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".into(),
        "--cfg=bpf_target_arch=\"x86_64\"".into(),
        format!("--remap-path-prefix={}=/mezame", root.display()),
    ];
    flags.extend(debian_rust::remap()?);
    Ok(flags)
}

/// Leaves out the debug information that BTF was made from.
fn strip(from: &Path, to: &Path) -> Result<()> {
    let tool = Path::new(LLVM).join("bin/llvm-objcopy");
    let status = Command::new(&tool)
        .arg("--strip-debug")
        .args([from, to])
        .status()
        .with_context(|| format!("running {}", tool.display()))?;
    ensure!(status.success(), "{} failed ({status})", tool.display());
    Ok(())
}

/// The linker in the cache; built first where it is not there.
fn ensure_linker(cache: &Path) -> Result<PathBuf> {
    let directory = cache.join("bpf-linker");
    let linker = directory.join("bin/bpf-linker");
    if linker.exists() {
        let output = Command::new(&linker).arg("--version").output()?;
        if String::from_utf8_lossy(&output.stdout).trim() == format!("bpf-linker {LINKER_VERSION}")
        {
            return Ok(linker);
        }
    }
    eprintln!("… building bpf-linker {LINKER_VERSION}, once (a few minutes)");
    let status = Command::new("cargo")
        .args(["install", "bpf-linker", "--locked", "--version", LINKER_VERSION])
        .args(["--no-default-features", "--features", "llvm-22", "--force", "--root"])
        .arg(&directory)
        .env("LLVM_PREFIX", LLVM)
        .status()
        .context("running cargo install")?;
    ensure!(status.success(), "bpf-linker can't be built ({status})");
    Ok(linker)
}

/// Checks that the compiler's LLVM is not newer than the linker's.
fn check_llvm() -> Result<()> {
    let rustc = output(RUSTC, &["-vV"])?;
    let compiler = rustc
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .with_context(|| format!("{RUSTC} does not say its LLVM's version"))?;
    let config = format!("{LLVM}/bin/llvm-config");
    let linker = output(&config, &["--version"])?;
    ensure!(
        version(compiler)? <= version(&linker)?,
        "{RUSTC} has LLVM {compiler}, newer than the linker's {}: its output can't be read",
        linker.trim()
    );
    Ok(())
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| {
        format!("running {program}; `cargo xtask setup --for ebpf` installs it")
    })?;
    ensure!(output.status.success(), "{program} failed ({})", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn version(text: &str) -> Result<Vec<u32>> {
    let numbers = text.trim().split('.').map(str::parse).collect::<Result<_, _>>();
    numbers.with_context(|| format!("{text:?} is no version"))
}

/// SHA-256 over every source file's path, length and contents, in the order of the paths.
fn source_digest(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut digest = Sha256::new();
    for path in files {
        let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
        let contents = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        digest.update(format!("{name}\0{}\0", contents.len()));
        digest.update(contents);
    }
    Ok(hex(&digest.finalize()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else {
        files.push(path.into());
    }
    Ok(())
}

fn file_digest(path: &Path) -> Result<String> {
    let contents = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(hex(&Sha256::digest(contents)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_object_is_of_the_source_beside_it() {
        verify_digest(&crate::workspace()).unwrap();
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version("22.1.8").unwrap() < version("22.1.10\n").unwrap());
        assert!(version("21.1.8").unwrap() < version("22.1").unwrap());
        assert!(version("22.x").is_err());
    }
}
