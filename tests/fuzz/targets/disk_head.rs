//! The heads of disks that a tenant brings: qcow2, VMDK, VHDX.
//!
//! Besides not panicking: what is taken names no other file where QEMU looks for one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mezame_images::{qcow2, vhdx, vmdk};

/// Where a VHDX has its table of regions.
const REGIONS: usize = 192 * 1024;

fuzz_target!(|input: &[u8]| {
    let Some((kind, head)) = input.split_first() else { return };
    match kind % 4 {
        0 => {
            if qcow2::Header::parse(head).is_ok() {
                assert_eq!(head[8..20], [0; 12], "it has a backing file");
                assert!(head[7] == 2 || head[79] & 4 == 0, "it has an external data file");
            }
        }
        1 => {
            if vmdk::Header::parse(head).is_ok() {
                let from = head.len().min(512);
                let looked_at = head[from..head.len().min(from + 20 * 512)].to_ascii_lowercase();
                let hint = b"parentfilenamehint";
                let has_parent = looked_at.windows(hint.len()).any(|part| part == hint);
                assert!(!has_parent, "it has a parent");
            }
        }
        2 => {
            let mut whole = vec![0; REGIONS + head.len()];
            whole[..8].copy_from_slice(b"vhdxfile");
            whole[REGIONS..].copy_from_slice(head);
            let _ = vhdx::metadata_place(&whole);
        }
        _ => {
            let _ = vhdx::Header::parse(head);
        }
    }
});
