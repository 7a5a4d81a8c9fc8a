//! Files out of images of file systems that the real tools have made.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

use super::{
    partitions::{Purpose, Table},
    *,
};
use crate::testing::{
    Numbers,
    vault::{Vault, project_key},
};

fn run(program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    let status = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success(), "{program} {arguments:?}");
}

/// A folder as a guest might have it.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("etc/deep/er")).unwrap();
    fs::create_dir(root.join("many")).unwrap();
    fs::write(root.join("etc/hostname"), "guest\n").unwrap();
    fs::set_permissions(root.join("etc/hostname"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("/etc/hostname", root.join("etc/link")).unwrap();
    symlink("../etc", root.join("etc/folder")).unwrap();
    for number in 0..700 {
        fs::write(root.join(format!("many/file-{number}")), number.to_string()).unwrap();
    }
    let mut numbers = Numbers(8);
    let big: Vec<u8> = (0..3 << 20).map(|_| u8::try_from(numbers.below(256)).unwrap()).collect();
    fs::write(root.join("etc/deep/er/big"), big).unwrap();
    let sparse = fs::File::create(root.join("etc/sparse")).unwrap();
    sparse.set_len(9 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 8 << 20).unwrap();
    // Longer than a tar's own field for a name.
    fs::write(root.join(format!("etc/{}", "n".repeat(200))), "long").unwrap();
    run("mkfifo", &[root.join("etc/pipe").to_str().unwrap()]);
}

/// A file system of this kind with the tree, and the tree.
fn made(kind: &str, more: &[&str]) -> (Vec<u8>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let (root, image) = (directory.path().join("root"), directory.path().join("image"));
    fs::create_dir(&root).unwrap();
    tree(&root);
    let (from, to) = (root.to_str().unwrap(), image.to_str().unwrap());
    run("mke2fs", &[&["-q", "-F", "-t", kind, "-d", from], more, &[to, "32M"]].concat());
    (fs::read(image).unwrap(), directory)
}

fn disk_in(vault: Vault, bytes: &[u8]) -> Disk {
    let image = vault.backup("disk", bytes);
    Disk::open(Arc::new(vault.archive), image).unwrap()
}

fn disk(bytes: &[u8]) -> Disk {
    disk_in(Vault::new(None), bytes)
}

fn read(files: &FileSystem, path: &str) -> Result<Vec<u8>, FilesError> {
    let mut bytes = Vec::new();
    files.read(path.as_bytes(), 64 << 20, &mut bytes)?;
    Ok(bytes)
}

fn tar_of(files: &FileSystem, path: &str) -> (Vec<u8>, Archived) {
    let mut bytes = Vec::new();
    let limits = Limits { names: 10_000, bytes: 1 << 30 };
    let archived = files.tar(path.as_bytes(), limits, &mut bytes).unwrap();
    (bytes, archived)
}

/// All that a folder has, by names: bytes, or where a link leads.
fn all(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            let below = all(&path);
            found
                .extend(below.into_iter().map(|(under, bytes)| (format!("{name}/{under}"), bytes)));
            found.insert(name, Vec::new());
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            found.insert(name, target.to_str().unwrap().as_bytes().to_vec());
        } else if kind.is_file() {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn files_of_ext2_ext3_and_ext4_are_listed_read_and_unpacked_as_they_were() {
    let kinds: [(&str, &[&str]); 4] = [
        ("ext4", &[]),
        ("ext4", &["-b", "1024", "-O", "^metadata_csum,^64bit"]),
        ("ext3", &[]),
        ("ext2", &["-O", "^dir_index"]),
    ];
    for (kind, more) in kinds {
        let (bytes, directory) = made(kind, more);
        let disk = disk(&bytes);
        assert_eq!(disk.table(), Table::None);
        assert_eq!(disk.partitions()[0].1, Kind::Ext);
        let files = disk.file_system(0).unwrap();
        assert_eq!(read(&files, "/etc/hostname").unwrap(), b"guest\n");
        let entry = files.entry(b"etc/hostname").unwrap();
        assert_eq!((entry.kind, entry.size, entry.mode), (FileKind::File, 6, 0o640));
        assert_eq!(files.list(b"many").unwrap().len(), 700, "{kind}");
        assert_eq!(files.link(b"etc/link").unwrap(), b"/etc/hostname");
        let big = fs::read(directory.path().join("root/etc/deep/er/big")).unwrap();
        assert!(read(&files, "etc/deep/er/big").unwrap() == big, "{kind} {more:?}");
        let root = directory.path().join("root");
        if kind != "ext4" {
            // What is not there of a map of blocks is not read as zeros by the parser.
            let error = read(&files, "etc/sparse").unwrap_err();
            assert!(matches!(error, FilesError::Read { .. }), "{error}");
            continue;
        }
        assert_eq!(read(&files, "etc/sparse").unwrap(), fs::read(root.join("etc/sparse")).unwrap());
        let (tar, archived) = tar_of(&files, "/etc");
        assert_eq!(archived.left_out, 1);
        let out = directory.path().join("out");
        fs::create_dir(&out).unwrap();
        fs::write(directory.path().join("tar"), tar).unwrap();
        let (from, to) = (directory.path().join("tar"), out.to_str().unwrap());
        run("tar", &["-xf", from.to_str().unwrap(), "-C", to, "--no-same-owner"]);
        assert!(all(&out.join("etc")) == all(&root.join("etc")), "{kind} {more:?}");
        let mode = fs::metadata(out.join("etc/hostname")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        // Of all of it, as well.
        let (_, archived) = tar_of(&files, "");
        assert!(archived.names >= 710, "{archived:?}");
    }
}

#[test]
fn no_link_is_followed_and_no_path_leads_out() {
    let (bytes, _directory) = made("ext4", &[]);
    let files = disk(&bytes).file_system(0).unwrap();
    for path in ["etc/folder/hostname", "etc/link/x"] {
        let error = read(&files, path).unwrap_err();
        assert!(matches!(error, FilesError::Link { .. }), "{error}");
    }
    let error = read(&files, "etc/link").unwrap_err();
    assert!(matches!(error, FilesError::NotAFile { .. }), "{error}");
    for path in ["../etc/passwd", "etc/../../x", "etc/./hostname", &"a/".repeat(3000), "a\0b"] {
        let error = read(&files, path).unwrap_err();
        assert!(matches!(error, FilesError::Path { .. }), "{error}");
    }
    for (path, expected) in [("none", "there is no /none"), ("etc", "/etc is no file")] {
        assert_eq!(read(&files, path).unwrap_err().to_string(), expected);
    }
    let error = files.list(b"etc/hostname").unwrap_err();
    assert!(matches!(error, FilesError::NotADirectory { .. }), "{error}");
}

#[test]
fn limits_are_kept_before_anything_is_written() {
    let (bytes, _directory) = made("ext4", &[]);
    let files = disk(&bytes).file_system(0).unwrap();
    let mut sink = Vec::new();
    let error = files.read(b"etc/deep/er/big", (3 << 20) - 1, &mut sink).unwrap_err();
    assert!(matches!(error, FilesError::TooLarge { size, .. } if size == 3 << 20), "{error}");
    assert!(sink.is_empty());
    for limits in [Limits { names: 5, bytes: 1 << 30 }, Limits { names: 9999, bytes: 1 << 20 }] {
        let error = files.tar(b"etc", limits, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, FilesError::TooMany { .. }), "{error}");
    }
    // A reader that goes away.
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = files.read(b"etc/hostname", 99, &mut Gone).unwrap_err();
    assert!(matches!(error, FilesError::Sink(_)), "{error}");
}

#[test]
fn one_file_of_a_large_encrypted_backup_takes_few_chunks() {
    let (file_system, _directory) = made("ext4", &[]);
    let script = "label: gpt\nstart=2048, size=8192, type=U\nsize=65536, type=L, name=root\n";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    let file = fs::File::create(&path).unwrap();
    file.set_len(200 << 20).unwrap();
    let mut sfdisk = Command::new("sfdisk");
    let mut child = sfdisk
        .arg("--quiet")
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    std::os::unix::fs::FileExt::write_all_at(&file, &file_system, 5 << 20).unwrap();
    // What else there is, which no file needs.
    let mut numbers = Numbers(2);
    let noise: Vec<u8> = (0..20 << 20).map(|_| u8::try_from(numbers.below(256)).unwrap()).collect();
    std::os::unix::fs::FileExt::write_all_at(&file, &noise, 100 << 20).unwrap();
    let disk = disk_in(Vault::new(Some(project_key())), &fs::read(&path).unwrap());
    assert_eq!(disk.table(), Table::Gpt);
    let found: Vec<_> = disk.partitions().iter().map(|(it, kind)| (it.number, *kind)).collect();
    assert_eq!(found, [(1, Kind::Unknown), (2, Kind::Ext)]);
    let (root, _) = &disk.partitions()[1];
    assert_eq!(root.name, "root");
    assert!(matches!(root.purpose, Purpose::Gpt(_)));
    let files = disk.file_system(2).unwrap();
    assert_eq!(read(&files, "etc/hostname").unwrap(), b"guest\n");
    assert!(disk.fetched() <= 12, "{} chunks were fetched", disk.fetched());
}

#[test]
fn what_can_not_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let name = path.to_str().unwrap();
    let make: [(&str, &[&str], Kind); 3] = [
        ("mformat", &["-F", "-T", "131072", "-i", name, "::"], Kind::Fat),
        ("mkswap", &[name], Kind::Swap),
        (
            "cryptsetup",
            &[
                "luksFormat",
                "-q",
                "--pbkdf-force-iterations",
                "1000",
                "--pbkdf",
                "pbkdf2",
                name,
                "-d",
                "/bin/true",
            ],
            Kind::Luks,
        ),
    ];
    for (program, arguments, kind) in make {
        fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
        run(program, arguments);
        let disk = disk(&fs::read(&path).unwrap());
        let error = disk.file_system(0).unwrap_err();
        assert!(matches!(error, FilesError::Unsupported { kind: it, .. } if it == kind), "{error}");
    }
    let text = FilesError::Unsupported { number: 3, kind: Kind::Lvm }.to_string();
    assert_eq!(text, "partition 3 is a part of an LVM volume group, which can't be read here");
    let error = disk(&[0; 4096]).file_system(1).unwrap_err();
    assert!(matches!(error, FilesError::NoPartition { number: 1 }), "{error}");
}

#[test]
fn a_damaged_file_system_ends_in_an_error_or_an_answer() {
    // Without checksums, so that damage comes further than the first look.
    let more = ["-b", "1024", "-O", "^metadata_csum,^has_journal"];
    let (bytes, _directory) = made("ext4", &more);
    let mut numbers = Numbers(77);
    let (mut failed, mut gave_up) = (0, 0);
    for _ in 0..100 {
        let mut damaged = bytes.clone();
        // Where the tables and folders are, for the most part.
        for _ in 0..1 + numbers.below(40) {
            let at = usize::try_from(1024 + numbers.below(600 << 10)).unwrap();
            damaged[at] = u8::try_from(numbers.below(256)).unwrap();
        }
        let disk = disk(&damaged);
        let limits = Limits { names: 2000, bytes: 64 << 20 };
        let files = disk.file_system(0);
        let result = files.and_then(|files| files.tar(b"", limits, &mut io::sink()));
        failed += u32::from(result.is_err());
        gave_up += u32::from(matches!(result, Err(FilesError::GaveUp { .. })));
    }
    eprintln!("{failed} of 100 could not be read to the end, {gave_up} by a panic");
    assert!(failed > 0, "no damage was found");
    assert_eq!(gave_up, 0);
}

#[test]
fn a_damaged_chunk_of_the_archive_is_told_as_such() {
    let (bytes, _directory) = made("ext4", &[]);
    let vault = Vault::new(None);
    let image = vault.backup("disk", &bytes);
    vault.damage();
    let error = Disk::open(Arc::new(vault.archive), image).and_then(|disk| {
        let files = disk.file_system(0)?;
        read(&files, "etc/deep/er/big")
    });
    assert!(error.is_err());
}

#[test]
fn what_a_journal_holds_of_a_guest_that_ran_is_what_is_read() {
    let (_, directory) = made("ext4", &[]);
    let image = directory.path().join("image");
    let name = image.to_str().unwrap();
    let asked =
        Command::new("debugfs").args(["-R", "blocks /etc/hostname", name]).output().unwrap();
    let block = String::from_utf8(asked.stdout).unwrap().trim().to_owned();
    let content = directory.path().join("content");
    let mut bytes = b"later\n".to_vec();
    bytes.resize(block_size(&fs::read(&image).unwrap()), 0);
    fs::write(&content, bytes).unwrap();
    // A transaction that is whole in the journal, and nowhere else.
    let commands = directory.path().join("commands");
    fs::write(&commands, format!("jo -c\njw -b {block} {}\njc\n", content.display())).unwrap();
    run("debugfs", &["-w", "-f", commands.to_str().unwrap(), name]);
    let bytes = fs::read(&image).unwrap();
    let at: usize = block.parse::<usize>().unwrap() * block_size(&bytes);
    assert_eq!(&bytes[at..at + 6], b"guest\n", "it is in its place already");
    let files = disk(&bytes).file_system(0).unwrap();
    assert_eq!(read(&files, "etc/hostname").unwrap(), b"later\n");
}

/// The block size of an ext file system.
fn block_size(bytes: &[u8]) -> usize {
    1024 << u32::from_le_bytes(bytes[1048..1052].try_into().unwrap())
}
