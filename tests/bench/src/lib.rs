//! The measurements behind `cargo xtask bench`.
//!
//! Each row is measured on the programs as they ship, side by side with what it is compared with.
//! Nothing here is estimated: a row that can't be measured is reported with its reason.

pub mod agent;
pub mod archive;
pub mod attach;
pub mod backup;
pub mod clone;
pub mod cloud_init;
pub mod crawl;
pub mod dhcp;
pub mod fixture;
pub mod frame;
pub mod get;
pub mod load;
pub mod peer;
pub mod pinned;
pub mod plan;
pub mod population;
pub mod protocol;
pub mod rounds;
pub mod row;
pub mod sample;
pub mod seed;
pub mod size;
pub mod storm;
pub mod volume;
pub mod wake;
