//! Frames as a real card leaves them: checksums to be completed, segments to be cut.

use mezame_tests::{
    Lab,
    http::TOKEN_TTL,
    namespace_guest::NamespaceGuest,
    tap::{Offload, Tap},
};
use serde_json::json;

use crate::seeds::{self, MAC};

#[test]
fn partial_checksums_and_long_segments_of_a_real_tap_come_out_right_both_ways() {
    let lab = Lab::start().unwrap();
    let data = "0123456789abcdef".repeat(1 << 14);
    let more = json!({"user_data": data});
    lab.operator.apply(&seeds::tenant("tenant-a", 1000, "tapa", &more)).unwrap();
    let tap = Tap::create(&lab.hypervisor, "tapa", Offload::ChecksumAndSegmentation).unwrap();
    let guest =
        NamespaceGuest::plug(tap, MAC, &["192.168.0.10/24"], Offload::ChecksumAndSegmentation)
            .unwrap();
    seeds::until_served(&guest, "tenant-a");
    assert!(guest.capture().sent_offloads().partial_checksums > 0, "SYNs with partial checksums");

    // A head of seven kilobytes leaves the guest in one segment.
    let long = "x".repeat(7000);
    let mut connection = guest.connect().unwrap();
    let headers = [(TOKEN_TTL, "60"), ("User-Agent", long.as_str())];
    let token = connection.send("PUT", "/latest/api/token", &headers, b"").unwrap();
    assert_eq!(token.status, 200, "{token:?}");
    assert!(guest.capture().sent_offloads().long_segments > 0, "a request in a long segment");

    // 256 KiB come back in segments that are cut by nobody before the guest.
    guest.capture().clear();
    let answer = connection.get("/latest/user-data", &[]).unwrap();
    assert_eq!(answer.text(), data);
    assert!(guest.capture().longest_received() > 1500, "{}", guest.capture().longest_received());
}
