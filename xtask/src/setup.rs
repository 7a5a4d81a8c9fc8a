//! `cargo xtask setup`: everything that the chores need on a fresh Debian 12.
//!
//! Each step looks first and does only what is missing, so it can be run again at any time, and
//! without a network once all is there. Guests' images are made by the recipes under
//! `images/recipes`.

mod apt;
mod bootstrap;
mod cache;
mod clients;
mod debian_guest;
mod encrypted_guest;
mod firewall;
mod guest_kernel;
mod initramfs;
mod nextest;
mod object_store;
mod packages;
mod progress;
mod pypi;
mod qemu_agent;
mod small_guest;
mod uefi_disk;
mod wine;

use anyhow::Result;

pub(crate) use cache::root as cache_root;
pub(crate) use packages::Purpose;

use cache::Cache;
use guest_kernel::GuestKernel;

/// Makes this machine ready for `purpose`.
pub(crate) fn run(purpose: Purpose) -> Result<()> {
    let cache = Cache::open()?;
    apt::install(purpose)?;
    match purpose {
        Purpose::Demo => {
            small_guest::build(&cache, &GuestKernel::fetch(&cache)?)?;
        }
        Purpose::Test => {
            nextest::install()?;
            let kernel = GuestKernel::fetch(&cache)?;
            small_guest::build(&cache, &kernel)?;
            debian_guest::build(&cache)?;
            encrypted_guest::build(&cache, crate::build::agent)?;
            clients::build(&cache)?;
            object_store::build(&cache)?;
            firewall::build(&cache, &kernel)?;
            qemu_agent::fetch(&cache)?;
            wine::build(&cache)?;
        }
        Purpose::Bench => clients::build(&cache)?,
        Purpose::Ebpf | Purpose::Agent | Purpose::Fuzz => {}
    }
    Ok(())
}
