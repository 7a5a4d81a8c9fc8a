//! A network namespace of a test's own: whatever is made in it goes with it.

use nix::sched::{CloneFlags, unshare};
use rtnetlink::{Handle, LinkUnspec, LinkVeth};

/// Runs async work in a thread and a network namespace of its own.
pub(crate) fn alone<T: Send + 'static, F: Future<Output = T>>(
    work: impl FnOnce(Handle) -> F + Send + 'static,
) -> T {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            work(handle).await
        })
    });
    match thread.join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Makes a pair of devices and gives the first one's index.
pub(crate) async fn make_pair(handle: &Handle, name: &str, peer: &str) -> u32 {
    handle.link().add(LinkVeth::new(name, peer).build()).execute().await.unwrap();
    nix::net::if_::if_nametoindex(name).unwrap()
}

/// Renames a device.
pub(crate) async fn rename(handle: &Handle, ifindex: u32, name: &str) {
    let renamed = LinkUnspec::new_with_index(ifindex).name(name).build();
    handle.link().set(renamed).execute().await.unwrap();
}
