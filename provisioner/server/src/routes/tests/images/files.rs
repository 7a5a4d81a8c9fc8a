//! Single files out of an image, of a file system that mke2fs made.

use std::{os::unix::ffi::OsStrExt, process::Command};

use super::*;

/// An image with a file system over all of its disk.
async fn imaged(gallery: &Gallery) -> String {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join("etc/many")).unwrap();
    std::fs::write(root.join("etc/hostname"), "web\n").unwrap();
    std::fs::write(root.join("etc/long"), [7; 600_000]).unwrap();
    std::os::unix::fs::symlink("hostname", root.join("etc/name")).unwrap();
    for name in [&b"a"[..], b"b c", b"d\xff"] {
        std::fs::write(root.join("etc/many").join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
    }
    let disk = folder.path().join("disk");
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([&root, &disk])
        .arg("8M")
        .status();
    assert!(made.unwrap().success());
    gallery.image("p", "disk", std::fs::read(disk).unwrap()).await
}

#[tokio::test]
async fn files_are_listed_and_read_out_of_an_image_and_a_folder_is_a_tar_stream() {
    let gallery = Gallery::open().await;
    let at = format!("/v1/projects/p/images/{}", imaged(&gallery).await);
    let disk = gallery.plane.get(&format!("{at}/partitions")).await.json();
    assert_eq!(
        (&disk["table"], &disk["partitions"][0]["is_readable"]),
        (&json!("none"), &json!(true))
    );

    let listed = gallery.plane.get(&format!("{at}/files?path=/etc")).await.json();
    let names: Vec<_> = listed["items"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["hostname", "long", "many", "name"]);
    assert_eq!(
        (&listed["items"][0]["size"], &listed["items"][2]["kind"]),
        (&json!(4), &json!("folder"))
    );
    assert_eq!(listed["items"][3]["target"], "hostname");
    // A page after the other; a name that is no text is told by its bytes.
    let page = gallery.plane.get(&format!("{at}/files?path=/etc/many&limit=2")).await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["more"]), (2, &json!(true)));
    let page = gallery.plane.get(&format!("{at}/files?path=/etc/many&after=b%20c")).await.json();
    assert_eq!((&page["items"][0]["bytes"], &page["more"]), (&json!("64ff"), &json!(false)));

    let (status, bytes) = gallery.bytes(&format!("{at}/files/content?path=/etc/long"), &[]).await;
    assert!(status == 200 && bytes == [7; 600_000]);
    let (status, bytes) =
        gallery.bytes(&format!("{at}/files/content?path=etc/many/d%ff&partition=0"), &[]).await;
    assert_eq!((status, bytes.len()), (200, 0));
    let (status, bytes) = gallery.bytes(&format!("{at}/files/tar?path=/etc"), &[]).await;
    let has = |words: &[u8]| bytes.windows(words.len()).any(|it| it == words);
    assert!(status == 200 && bytes.len() % 512 == 0 && has(b"etc/hostname") && has(b"web\n"));
}

#[tokio::test]
async fn what_can_not_be_read_out_is_told_before_the_first_byte_and_readers_read_no_guest_files() {
    let gallery = Gallery::open().await;
    let id = imaged(&gallery).await;
    let at = format!("/v1/projects/p/images/{id}/files");
    for (query, status, kind) in [
        ("/content?path=/none", 404, "no-such-file"),
        ("/content?path=/etc/hostname&partition=3", 404, "no-such-file"),
        ("/content?path=/etc", 409, "other-file"),
        ("/content?path=/etc/name", 409, "other-file"),
        ("/content?path=/etc/name/x", 409, "other-file"),
        ("/tar?path=/etc/../etc", 422, "faults"),
        ("?path=%4", 400, "parameter"),
        ("?limit=0", 400, "parameter"),
    ] {
        let refused = gallery.plane.get(&format!("{at}{query}")).await;
        assert_eq!((refused.status, &refused.problem()["type"]), (status, &json!(kind)), "{query}");
    }
    // A disk without a file system.
    let bare = gallery.image("p", "bare", vec![1; 1 << 20]).await;
    let bare = gallery.plane.get(&format!("/v1/projects/p/images/{bare}/files")).await;
    assert_eq!((bare.status, &bare.problem()["type"]), (409, &json!("no-file-system")));
    let theirs = gallery.plane.get(&format!("/v1/projects/q/images/{id}/files")).await;
    assert_eq!(theirs.status, 404);
    for path in ["", "/content?path=/etc/hostname", "/tar?path=/etc"] {
        let path = format!("{at}{path}");
        let refused =
            gallery.plane.respond(Some(Role::Read), "GET", &path, &[], Body::empty()).await;
        assert_eq!(refused.status(), 403, "{path}");
    }
}
