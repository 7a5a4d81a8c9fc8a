//! Single files out of an image, by the real command.

use super::*;

#[test]
fn files_of_an_image_are_listed_printed_and_unpacked_without_restoring_it() -> Result<()> {
    let desk = Desk::lay("a")?;
    let (root, disk) = (desk.path("root"), desk.path("files.raw"));
    fs::create_dir_all(root.join("etc"))?;
    fs::write(root.join("etc/hostname"), "web\n")?;
    fs::write(root.join("etc/long"), repeated("a line of a long file", 3 << 20))?;
    std::os::unix::fs::symlink("hostname", root.join("etc/name"))?;
    let mut made = process::command("mke2fs");
    process::succeed(made.args(["-q", "-t", "ext4", "-d"]).args([&root, &disk]).arg("16M"))?;
    let mezame = desk.mezame.clone();
    mezame.run(&["image", "import", text(&disk), "-p", "a", "--name", "files", "-q"])?;
    let disk = desk.json(&["image", "partitions", "files"])?;
    ensure!(disk["partitions"][0]["holds"] == "an ext file system", "{disk}");
    let listed = mezame.run(&["image", "ls", "files", "/etc", "-p", "a"])?;
    ensure!(listed.contains("hostname") && listed.contains("name -> hostname"), "{listed}");
    let printed = mezame.run(&["image", "cat", "files", "/etc/hostname", "-p", "a"])?;
    ensure!(printed == "web\n", "{printed}");
    let refused = mezame.run(&["image", "cat", "files", "/etc/name", "-p", "a"]).unwrap_err();
    ensure!(refused.to_string().contains("no file"), "{refused}");
    // What the command prints is what GNU tar unpacks; it is text here, as the harness wants it.
    let stream = mezame.run(&["image", "tar", "files", "/etc", "-p", "a"])?;
    let (tar, out) = (desk.path("etc.tar"), desk.path("out"));
    fs::write(&tar, stream)?;
    fs::create_dir(&out)?;
    let mut unpack = process::command("tar");
    process::succeed(unpack.arg("-xf").arg(&tar).arg("-C").arg(&out).arg("--no-same-owner"))?;
    ensure!(fs::read(out.join("etc/long"))? == fs::read(root.join("etc/long"))?);
    ensure!(fs::read_link(out.join("etc/name"))? == Path::new("hostname"));
    Ok(())
}
