//! User-data of any bytes, taken apart by the agent: MIME multi-part, gzip, base64, scripts, also
//! those for Windows by their marks.

#![no_main]

use guest_agent::user_data::{self, Content, mime};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(parts) = mime::parse(input) {
        // Transfer encodings only ever make a body shorter, and no byte belongs to two parts.
        let bytes: usize = parts.iter().map(|part| part.body.len()).sum();
        assert!(bytes <= input.len(), "{bytes} bytes came out of {}", input.len());
        for part in &parts {
            assert_eq!(part.content_type, part.content_type.to_ascii_lowercase());
        }
    }
    for part in user_data::parse(input) {
        assert!(!part.name.is_empty(), "a part without a name");
        if let Content::Refused { reason, .. } = part.content {
            assert!(!reason.is_empty(), "a part refused without a reason");
        }
    }
});
